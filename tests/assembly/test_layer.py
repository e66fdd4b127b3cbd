"""Layers are whole tar archives, the same on every machine."""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch_agent.assembly import layer
from launch_agent.assembly.entries import Entry, Kind, of_folder
from launch_agent.errors import ImageError

PART = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=150
).filter(lambda part: part not in (".", ".."))
# A root of its own for each kind, so that no file is to be a folder too.
FILES = st.dictionaries(
    st.lists(PART, min_size=1, max_size=3).map("/".join), st.binary(max_size=2000), max_size=6
)
LINKS = st.dictionaries(PART, PART, max_size=3)


def listed(made: layer.Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(made.path) as archive:
        return {member.name: member for member in archive}


def entries(files: dict[str, bytes], links: dict[str, str]) -> list[Entry]:
    flat = {f"f{number}/{path}": content for number, (path, content) in enumerate(files.items())}
    found = [Entry(path=path, content=content) for path, content in flat.items()]
    return found + [Entry(path=f"l/{path}", kind=Kind.LINK, target=to) for path, to in links.items()]


@settings(max_examples=60, deadline=None)
@given(FILES, LINKS, st.randoms())
def test_what_goes_in_is_what_a_reader_finds_in_any_order(files, links, random) -> None:  # type: ignore[no-untyped-def] # hypothesis'
    given_entries = entries(files, links)
    with tempfile.TemporaryDirectory() as folder:
        one = layer.write(given_entries, Path(folder, "one"), title="x")
        random.shuffle(given_entries)
        two = layer.write(given_entries, Path(folder, "two"), title="x")
        assert (one.descriptor, one.diff_id) == (two.descriptor, two.diff_id)
        with tarfile.open(one.path) as archive:
            for entry in given_entries:
                member = archive.getmember(entry.path)
                if entry.kind is Kind.LINK:
                    assert member.linkname == entry.target
                else:
                    content = archive.extractfile(member)
                    assert content is not None
                    assert content.read() == entry.content


def test_two_folders_at_two_times_make_one_digest(tmp_path: Path) -> None:
    made = []
    for name, when in (("one", 1_000_000_000), ("two", 1_700_000_000)):
        root = tmp_path / name
        (root / "sub").mkdir(parents=True)
        for path, mode in (("sub/run", 0o700), ("text", 0o600 if name == "one" else 0o664)):
            (root / path).write_text(path)
            (root / path).chmod(mode)
            os.utime(root / path, (when, when))
        (root / "link").symlink_to("sub/run")
        made.append(layer.write(of_folder(root, "job"), tmp_path / f"{name}.tar.gz", title="x"))
    assert made[0].descriptor == made[1].descriptor
    found = listed(made[0])
    assert (found["job/sub/run"].mode, found["job/text"].mode) == (0o755, 0o644)
    assert (made[0].files, made[0].size) == (2, len("sub/run") + len("text"))


def test_hard_links_and_sparse_files_become_files_of_their_content(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_text("same")
    (root / "b").hardlink_to(root / "a")
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 20)
    found = listed(layer.write(of_folder(root, "r"), tmp_path / "layer", title="x"))
    assert all(found[f"r/{name}"].isreg() for name in ("a", "b", "sparse"))
    assert found["r/sparse"].size == 1 << 20


def test_the_owner_is_that_of_one_part_alone(tmp_path: Path) -> None:
    whole = [Entry(path="home/me/a"), Entry(path="etc/b"), Entry(path="home/meadow")]
    made = layer.write(whole, tmp_path / "layer", title="x", owner=layer.Owner(uid=7), below="home/me")
    owned = {name for name, member in listed(made).items() if member.uid == 7}
    assert owned == {"home/me", "home/me/a"}


@pytest.mark.parametrize("path", ["", "/a", "a/../b", "a//b", "./a", "a/", "a\0b"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(ImageError):
        Entry(path=path)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "sub/../../x"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(ImageError, match="leads out"):
        list(of_folder(tmp_path, "r"))


def test_a_file_that_is_to_be_a_folder_too_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="below it"):
        layer.write([Entry(path="a"), Entry(path="a/b")], tmp_path / "layer", title="x")


def test_a_socket_has_no_place_in_an_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="neither"):
        list(of_folder(tmp_path, "r"))


def test_a_layer_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot write the layer"):
        layer.write([Entry(path="a")], tmp_path / "absent" / "layer", title="x")


def test_the_archive_is_read_by_its_type(tmp_path: Path) -> None:
    made = layer.write([Entry(path="a", content=b"1")], tmp_path / "layer", title="x")
    assert made.path.read_bytes()[:2] == b"\x1f\x8b"
    assert made.descriptor.size == len(made.path.read_bytes())
    with tarfile.open(made.path, mode="r:gz") as archive:
        assert archive.getnames() == ["a"]
