"""Which ends were reported outlives the process, and stays small."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch_agent.runners.vertex import told
from launch_agent.runners.vertex.told import Told


def test_what_was_told_is_known_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "state" / "vertex-told"
    first = Told(file)
    first.add("a")
    first.add("a")
    assert (first.has("a"), first.has("b")) == (True, False)
    assert Told(file).has("a")
    assert file.read_text() == "a\n"


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "_MOST", 3)
    file = tmp_path / "vertex-told"
    file.write_text("".join(f"{number}\n" for number in range(10)))
    found = Told(file)
    assert [found.has(str(number)) for number in (6, 7, 9)] == [False, True, True]
    assert file.read_text() == "7\n8\n9\n"


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    found = Told(tmp_path / "file" / "vertex-told")
    found.add("a")
    assert found.has("a")
    assert "cannot note" in caplog.text
