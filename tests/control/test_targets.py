"""Runners are made once, closed where they cannot be used, and wait for no other resource."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from launch_agent.control.journal import Journal
from launch_agent.control.targets import Targets
from launch_agent.errors import RunnerError
from launch_agent.runners import WatchHealth
from launch_agent.telemetry.targets import TargetCollector, Usage
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


def test_what_the_runners_hear_and_ask_is_told(
    journal: Journal, made: dict[str, list[ScriptedRunner]]
) -> None:
    targets = Targets({}, journal)
    registry = CollectorRegistry()
    registry.register(TargetCollector(targets.health, targets.usage))
    assert (targets.health(), targets.deafness()) == ([], "")
    targets.runner("local-process")  # one that neither watches nor counts
    targets.runner("kubernetes")
    [runner] = made["kubernetes"]
    runner.watches = [
        WatchHealth(name="jobs in a", age=3.0, listed=70.0),
        WatchHealth(name="pods in a", age=1),
    ]
    runner.used = Usage(requests={("list", "200"): (4, 0.5), ("list", "none"): (1, 20.0)}, throttled=1.5)
    assert targets.deafness() == ""
    place = {"target": "kubernetes", "watch": "jobs in a"}
    assert registry.get_sample_value("launch_agent_watch_age_seconds", place) == 3.0
    assert registry.get_sample_value("launch_agent_watch_list_age_seconds", place) == 70.0
    assert registry.get_sample_value("launch_agent_watch_failing", place) == 0.0
    call = {"target": "kubernetes", "verb": "list", "code": "200"}
    assert registry.get_sample_value("launch_agent_api_request_duration_seconds_count", call) == 4
    assert registry.get_sample_value("launch_agent_api_request_duration_seconds_sum", call) == 0.5
    throttled = registry.get_sample_value(
        "launch_agent_api_throttled_seconds_total", {"target": "kubernetes"}
    )
    assert throttled == 1.5


@pytest.mark.parametrize(
    ("age", "words"),
    [(121.0, "nothing is heard of jobs in a (kubernetes) for 121 s: forbidden"), (inf, "(kubernetes) yet: ")],
)
def test_an_agent_that_hears_nothing_of_its_runs_says_so(
    journal: Journal, made: dict[str, list[ScriptedRunner]], age: float, words: str
) -> None:
    targets = Targets({}, journal)
    targets.runner("kubernetes")
    made["kubernetes"][0].watches = [WatchHealth(name="jobs in a", age=age, error="forbidden")]
    assert words in targets.deafness()


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
