from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.fakes import docker_engine
from tests.fakes.docker_engine import NoEngine, _check_possible, _is_dockerd, _pid, _shared, connect, locked
from tests.fakes.eventually import eventually

pytestmark = pytest.mark.docker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    try:
        _check_possible()
    except NoEngine as reason:
        pytest.skip(str(reason))
    return tmp_path / "e"


def test_one_engine_serves_all_and_the_last_one_stops_it(folder: Path) -> None:
    with _shared(folder) as first:
        with _shared(folder) as second:
            assert second == first
        connect(first).close()
        pid = _pid(folder)
    assert not _is_dockerd(pid)
    assert str(folder) not in Path("/proc/self/mounts").read_text()
    assert not folder.exists()
    assert not folder.with_suffix(".lock").exists()


def test_an_engine_that_was_killed_is_replaced(folder: Path) -> None:
    with _shared(folder):
        os.kill(_pid(folder), signal.SIGKILL)
        eventually(lambda: not _pid(folder), what="dockerd is dead")
        with _shared(folder) as host:
            connect(host).close()
    assert not folder.exists()


def test_who_waited_for_a_lock_whose_file_went_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        assert path.exists()
    assert not path.exists()
    with locked(path):
        pass


def test_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine.sys, "platform", "darwin")
    with pytest.raises(NoEngine, match="needs Linux"):
        _check_possible()
