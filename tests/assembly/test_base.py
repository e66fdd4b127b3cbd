"""What a base image has, and what is kept of it between builds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from launch_agent.assembly import image, kept, layer, layout, origin, programs
from launch_agent.assembly.entries import Entry, Kind
from launch_agent.assembly.image import Base
from launch_agent.assembly.kept import Kept
from launch_agent.assembly.layer import Layer
from launch_agent.assembly.origin import Layout
from launch_agent.clients.oci.model import Descriptor, Manifest, Platform
from launch_agent.errors import ImageError

AMD64 = Platform(os="linux", architecture="amd64")


class Counted(Layout):
    """A layout that counts what is read of it."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.asked: list[str] = []

    def top(self) -> Manifest:
        self.asked.append("top")
        return super().top()

    def read(self, blob: Descriptor) -> Iterator[bytes]:
        self.asked.append(blob.digest)
        return super().read(blob)


def made(folder: Path, *layers: Sequence[Entry], env: dict[str, str] | None = None) -> Counted:
    written = [
        layer.write(entries, folder / f"{number}.tar.gz", title=str(number))
        for number, entries in enumerate(layers)
    ]
    whole = image.assemble(Base(name="", platform=AMD64), written, image.Settings(env=env or {"A": "b"}))
    layout.write([whole], folder / "layout", read_base=lambda _: ())
    return Counted(folder / "layout")


def program(path: str) -> Entry:
    return Entry(path=path, mode=0o755)


def test_the_python_of_an_official_image_is_told_and_nothing_is_read(tmp_path: Path) -> None:
    where = made(tmp_path, [program("x")], env={"PYTHON_VERSION": "3.12.4"})
    base = origin.base(where, AMD64)
    where.asked.clear()
    assert programs.python(base, where, "3.12") == ("/usr/local/bin/python3.12", "3.12")
    assert where.asked == []


def test_the_newest_python_is_taken_where_none_is_wanted(tmp_path: Path) -> None:
    where = made(tmp_path, [program("usr/bin/python3.9"), program("opt/py/bin/python3.11")])
    assert programs.python(origin.base(where, AMD64), where) == ("/opt/py/bin/python3.11", "3.11")


def test_a_link_leads_to_the_python_that_has_a_library(tmp_path: Path) -> None:
    link = Entry(path="usr/bin/python3", kind=Kind.LINK, mode=0o777, target="/opt/a/b/bin/python3.13")
    where = made(tmp_path, [link])
    assert programs.python(origin.base(where, AMD64), where) == ("/opt/a/b/bin/python3.13", "3.13")


def test_what_a_later_layer_removes_is_not_there(tmp_path: Path) -> None:
    first = [program("usr/bin/git"), program("usr/bin/ssh"), program("opt/a/bin/x")]
    where = made(tmp_path, first, [Entry(path="usr/bin/.wh.git"), Entry(path="opt/.wh..wh..opq")])
    base = origin.base(where, AMD64)
    assert programs.lacking(base, where, ["git", "ssh", "x"]) == ("git", "x")


def test_layers_are_listed_once(tmp_path: Path) -> None:
    where = made(tmp_path, [program("usr/bin/git")])
    base = origin.base(where, AMD64)
    for _ in range(2):
        where.asked.clear()
        assert programs.lacking(base, where, ["git"], cache=tmp_path / "lists") == ()
    assert where.asked == []
    for file in (tmp_path / "lists").iterdir():
        file.write_text("{")
    assert programs.lacking(base, where, ["git"], cache=tmp_path / "lists") == ()


def test_a_pinned_base_is_asked_for_once(tmp_path: Path) -> None:
    where = made(tmp_path, [program("usr/bin/python3.12")])
    digest = where.top().digest
    for turn in range(2):
        where.asked.clear()
        here = Kept(where, tmp_path / "blobs", digest)
        base = origin.base(here, AMD64)
        read = [b"".join(here.read(each)) for each in base.layers]
        assert [len(each) for each in read] == [each.size for each in base.layers]
        assert (where.asked == []) is bool(turn)


def test_a_kept_blob_that_is_damaged_is_read_anew(tmp_path: Path) -> None:
    where = made(tmp_path, [program("usr/bin/python3.12")])
    here = Kept(where, tmp_path / "blobs", where.top().digest)
    (blob,) = origin.base(here, AMD64).layers
    whole = b"".join(here.read(blob))
    (tmp_path / "blobs" / blob.digest[7:]).write_bytes(b"half")
    assert b"".join(here.read(blob)) == whole
    assert not list((tmp_path / "blobs").glob(".*"))


def test_a_blob_that_is_not_what_its_digest_says_is_told(tmp_path: Path) -> None:
    where = made(tmp_path, [program("usr/bin/python3.12")])
    (blob,) = origin.base(where, AMD64).layers
    (tmp_path / "layout" / "blobs" / "sha256" / blob.digest[7:]).write_bytes(b"other")
    with pytest.raises(ImageError, match="not what its digest says"):
        b"".join(Kept(where, tmp_path / "blobs").read(blob))
    assert not (tmp_path / "blobs" / blob.digest[7:]).exists()


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    import os

    for number in range(4):
        (tmp_path / str(number)).write_bytes(b"x" * 10)
        os.utime(tmp_path / str(number), (number, number))
    kept.make_room(tmp_path, tmp_path / "0", largest=25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "3"]


def test_a_layer_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> tuple[Layer, object]:
        path.write_bytes(b"half")
        raise ImageError("no")

    with pytest.raises(ImageError, match="no"):
        kept.layer(tmp_path / "cache", "key", fail)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_image_for_another_platform_is_no_base(tmp_path: Path) -> None:
    where = made(tmp_path, [program("x")])
    with pytest.raises(ImageError, match="is for linux/amd64, and linux/arm64 is wanted") as told:
        origin.base(where, Platform(os="linux", architecture="arm64"))
    assert told.value.hint


def test_a_layout_whose_image_has_no_layers_listed_is_no_base(tmp_path: Path) -> None:
    where = made(tmp_path, [program("x")])
    manifest = where.top()
    config = tmp_path / "layout" / "blobs" / "sha256" / manifest.config.digest[7:]
    config.write_text(json.dumps([]))
    with pytest.raises(ImageError):
        origin.base(where, AMD64)
