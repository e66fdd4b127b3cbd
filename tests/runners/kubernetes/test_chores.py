"""Chores are done in their time, one after the other, and none ends the others."""

from __future__ import annotations

import threading

import pytest

from launch_agent.errors import RunnerError
from launch_agent.runners.kubernetes.chores import Chores
from tests.fakes.eventually import eventually


@pytest.fixture
def chores() -> Chores:
    return Chores()


def test_they_are_done_in_the_order_in_which_they_are_due(chores: Chores) -> None:
    done: list[str] = []
    chores.add("later", lambda: done.append("later"), after=0.2)
    chores.add("soon", lambda: done.append("soon"), after=0.1)
    chores.add("now", lambda: done.append("now"))
    eventually(lambda: done == ["now", "soon", "later"])
    chores.close()


def test_one_that_fails_is_logged_and_repeated(chores: Chores, caplog: pytest.LogCaptureFixture) -> None:
    times = 0

    def fail() -> None:
        nonlocal times
        times += 1
        raise RunnerError("the cluster is away")

    chores.add("look", fail, every=0.01)
    eventually(lambda: times > 2)
    chores.close()
    assert "look: the cluster is away" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_one_leaves_the_others(chores: Chores) -> None:
    done = threading.Event()

    def broken() -> None:
        raise ZeroDivisionError

    chores.add("broken", broken)
    chores.add("other", done.set, after=0.05)
    assert done.wait(10)
    chores.close()


def test_none_begins_after_the_end(chores: Chores) -> None:
    done = threading.Event()
    chores.add("later", done.set, after=0.05)
    chores.close()
    chores.add("now", done.set)
    assert not done.wait(0.2)
