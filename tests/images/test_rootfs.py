from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

from launch_agent.errors import ImageError
from launch_agent.images.rootfs import image_from_host

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="makes images of Linux programs")


@linux
def test_holds_the_programs_and_what_they_load(tmp_path: Path) -> None:
    with tarfile.open(image_from_host(tmp_path / "a.tar", ["sh", "sleep"])) as tar:
        names = {Path(name).name for name in tar.getnames()}
        assert {"sh", "sleep", "passwd", "tmp"} <= names
        assert tar.getmember("tmp").mode == 0o1777
        assert all(member.uid == 0 and member.mtime == 0 for member in tar)


@linux
def test_is_the_same_twice(tmp_path: Path) -> None:
    one = image_from_host(tmp_path / "a.tar", ["sh", "cat"]).read_bytes()
    assert image_from_host(tmp_path / "b.tar", ["cat", "sh"]).read_bytes() == one


@linux
def test_python_comes_with_its_standard_library_and_without_installed_packages(tmp_path: Path) -> None:
    with tarfile.open(image_from_host(tmp_path / "a.tar", ["sh"], python=True)) as tar:
        names = tar.getnames()
    assert any(name.endswith("/json/__init__.py") for name in names)
    assert not any("site-packages" in name for name in names)


@linux
def test_names_the_program_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="'no-such-program'"):
        image_from_host(tmp_path / "a.tar", ["no-such-program"])


def test_says_why_it_cannot_on_another_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ImageError, match="not Linux programs"):
        image_from_host(tmp_path / "a.tar", ["sh"])
