"""The archive of a context: the same bytes for the same content, made piece by piece."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from launch_agent.errors import ImageError
from launch_agent.images.job.archive import gzipped, pack
from launch_agent.images.job.tree import Entry, Tree


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    names = ["a", "d/e/f", "long/" + "x" * 120 + "/" + "y" * 120, "ünï/cödé", "d/run.sh"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "d/run.sh").chmod(0o755)
    (tmp_path / "d/link").symlink_to("e/f")
    (tmp_path / "big").write_bytes(os.urandom(3_000_001))
    entries = Tree(root=tmp_path, added={".launch-agent/Dockerfile": b"FROM scratch\n"}).entries()
    pieces = list(pack(tmp_path, entries))
    assert max(map(len, pieces)) <= 1024 * 1024
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        files = {member.name: member for member in tar.getmembers()}
        for name in [*names, "big"]:
            content = tar.extractfile(name)
            assert content is not None
            assert content.read() == (tmp_path / name).read_bytes()
        assert files["d/run.sh"].mode == 0o755
        assert files["a"].mode == 0o644
        assert files["d/link"].linkname == "e/f"
        assert files[".launch-agent/Dockerfile"].size == 13
        assert {(member.uid, member.gid, member.mtime) for member in files.values()} == {(0, 0, 315_619_200)}
        assert files["d/e"].isdir()
    assert gzip.decompress(b"".join(gzipped(pieces))) == b"".join(pieces)


def test_it_is_the_same_from_another_checkout(tmp_path: Path) -> None:
    packed = set()
    for number in range(2):
        folder = tmp_path / str(number)
        (folder / "d").mkdir(parents=True)
        for name in ("d/b", "d/a", "c") if number else ("c", "d/a", "d/b"):
            (folder / name).write_text(name)
            os.utime(folder / name, (number, number))
        packed.add(b"".join(gzipped(pack(folder, Tree(root=folder).entries()))))
    assert len(packed) == 1


def test_a_file_that_shrinks_or_goes_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("12")
    with pytest.raises(ImageError, match="shorter"):
        list(pack(tmp_path, [Entry(path="a", size=3)]))
    with pytest.raises(ImageError, match="No such file"):
        list(pack(tmp_path, [Entry(path="b", size=3)]))


def test_one_that_grows_is_cut_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("12345")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pack(tmp_path, [Entry(path="a", size=3)])))) as tar:
        content = tar.extractfile("a")
        assert content is not None
        assert content.read() == b"123"
