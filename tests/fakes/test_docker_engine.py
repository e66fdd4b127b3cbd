from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.fakes import docker_engine
from tests.fakes.docker_engine import (
    NoEngine,
    _is_dockerd,
    check_possible,
    connect,
    locked,
    pid_of,
    private_engine,
)
from tests.fakes.eventually import eventually

pytestmark = pytest.mark.docker


def test_one_engine_serves_all_and_the_last_one_stops_it(engine_folder: Path) -> None:
    with private_engine(engine_folder) as first:
        with private_engine(engine_folder) as second:
            assert second == first
        connect(first).close()
        pid = pid_of(engine_folder)
    assert not _is_dockerd(pid)
    assert str(engine_folder) not in Path("/proc/self/mounts").read_text()
    assert not engine_folder.exists()
    assert not engine_folder.with_suffix(".lock").exists()


def test_an_engine_that_was_killed_is_replaced(engine_folder: Path) -> None:
    with private_engine(engine_folder):
        os.kill(pid_of(engine_folder), signal.SIGKILL)
        eventually(lambda: not pid_of(engine_folder), what="dockerd is dead")
        with private_engine(engine_folder) as host:
            connect(host).close()
    assert not engine_folder.exists()


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
        check_possible()
