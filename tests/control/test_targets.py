"""Runners are made once, closed where they cannot be used, and wait for no other resource."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from launch_agent.control.journal import Journal
from launch_agent.control.targets import Targets
from launch_agent.errors import RunnerError
from tests.fakes.scripted_runner import ScriptedRunner


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path)
    with journal.held():
        yield journal


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[ScriptedRunner]]:
    """The runners that were made, by kind; `away` of the first of `docker` is set."""
    runners: dict[str, list[ScriptedRunner]] = {}

    def load(group: str, kind: str) -> SimpleNamespace:
        def create(options: object) -> ScriptedRunner:
            away = RunnerError("nobody answers", retryable=True)
            runner = ScriptedRunner(away=away if kind == "docker" and kind not in runners else None)
            runners.setdefault(kind, []).append(runner)
            return runner

        return SimpleNamespace(create=create)

    monkeypatch.setattr("launch_agent.plugins.load", load)
    return runners


def test_a_runner_that_cannot_be_used_is_closed_and_made_anew(
    journal: Journal, made: dict[str, list[ScriptedRunner]]
) -> None:
    targets = Targets({}, journal)
    with pytest.raises(RunnerError):
        targets.runner("local-container")
    assert journal.known_resources() == []
    second = targets.runner("local-container")
    assert targets.runner("local-container") is second
    assert [runner.closed for runner in made["docker"]] == [1, 0]
    assert journal.known_resources() == ["local-container"]
    targets.close()
    assert [runner.closed for runner in made["docker"]] == [1, 1]


def test_a_resource_that_is_slow_holds_up_no_other(
    journal: Journal, made: dict[str, list[ScriptedRunner]]
) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(runner: object) -> None:
        if any(runner is one for one in made.get("sagemaker", ())):
            begun.set()
            go.wait(10)

    targets = Targets({}, journal, slow)
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(targets.runner, "sagemaker")
        assert begun.wait(10)
        assert threads.submit(targets.runner, "local-process").result(timeout=10)
        assert not waiting.done()
        go.set()
        assert waiting.result(timeout=10) is made["sagemaker"][0]
