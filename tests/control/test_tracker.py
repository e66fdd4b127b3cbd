"""Live runs are followed to their end, whatever the world does meanwhile. Time is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from launch_agent.control.reports import Reports
from launch_agent.control.tracker import SETTLE_SECONDS, Tracker
from launch_agent.errors import RunnerError
from launch_agent.spec.model import Outcome, RunIdentity, RunState
from launch_agent.telemetry.metrics import Metrics
from tests.fakes.memory_queues import MemoryQueues
from tests.fakes.scripted_runner import ScriptedRun


@dataclass
class Bench:
    """A tracker with everything around it, and a clock that the test moves."""

    queues: MemoryQueues = field(default_factory=MemoryQueues)
    start_timeout: float = 100.0
    stop_timeout: float = 60.0
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.reports = Reports(self.queues, Metrics())
        self.tracker = Tracker(
            self.queues,
            self.reports,
            Metrics(),
            start_timeout=self.start_timeout,
            stop_timeout=self.stop_timeout,
            log_tail=2,
        )

    def run(self, item: str = "i1", state: RunState = RunState.RUNNING, kind: str = "job") -> ScriptedRun:
        identity = RunIdentity(
            agent="a",
            item_id=item,
            queue="q",
            queue_entity="t",
            run_id=item,
            entity="t",
            project="p",
            kind=kind,
        )
        run = ScriptedRun(identity=identity)
        run.be(state)
        self.tracker.add(run, self.now)
        return run

    def after(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.tracker.tick(self.now)
        self.reports.tick(self.now)

    @property
    def ends(self) -> dict[str, Outcome]:
        return dict(self.queues.finished)


def test_an_end_is_reported_once_and_the_run_released() -> None:
    bench = Bench()
    run = bench.run()
    bench.after()
    assert bench.queues.finished == []
    run.be(RunState.FINISHED, exit_code=0)
    bench.after(1)
    bench.after(1)
    assert bench.queues.finished == [("i1", Outcome(state=RunState.FINISHED))]
    assert (run.released, bench.tracker.live()) == (1, 0)


def test_a_failure_carries_reason_hint_and_the_end_of_the_log() -> None:
    bench = Bench()
    run = bench.run()
    run.output = "one\ntwo\nthree\n"
    run.be(
        RunState.FAILED, reason="OOMKilled", message="killed at 2 GiB", hint="raise the limit", exit_code=137
    )
    bench.after()
    failure = bench.ends["i1"].failure
    assert failure is not None
    assert (failure.stage, failure.reason, failure.hint) == ("run", "OOMKilled", "raise the limit")
    assert failure.log == "two\nthree\n"


def test_a_status_that_cannot_be_asked_ends_nothing() -> None:
    """openings L8: a run's state is unknown only for as long as the world is."""
    bench = Bench()
    run = bench.run()
    run.error = RunnerError("throttled", retryable=True)
    for _ in range(50):
        bench.after(60)
    assert bench.queues.finished == []
    assert bench.tracker.live() == 1
    run.error = None
    run.be(RunState.FINISHED)
    bench.after(1)
    assert bench.ends["i1"].state is RunState.FINISHED


def test_a_bug_in_one_run_hides_no_other() -> None:
    """openings K12: isolated."""
    bench = Bench()
    broken, healthy = bench.run("broken"), bench.run("healthy")
    broken.bug = KeyError("surprise")
    healthy.be(RunState.FINISHED)
    with pytest.raises(KeyError):
        bench.tracker.tick(bench.now)
    bench.after(1)
    assert bench.ends["healthy"].state is RunState.FINISHED
    assert bench.tracker.live() == 1


def test_stop_checks_cost_one_request_for_any_number_of_runs() -> None:
    """openings L6."""
    bench = Bench()
    for number in range(200):
        bench.run(f"i{number}")
    bench.after()
    assert bench.queues.calls == ["stop_requested"]


def test_a_run_that_cannot_hear_of_its_stop_is_cancelled_at_once() -> None:
    bench = Bench()
    run = bench.run()
    bench.queues.stops = {"i1"}
    bench.after(5)
    assert run.cancelled == 1
    run.be(RunState.STOPPED, exit_code=137)
    bench.after(5)
    assert bench.ends["i1"] == Outcome(state=RunState.STOPPED)


def test_a_run_that_hears_of_its_stop_gets_time_to_end_itself() -> None:
    bench = Bench(stop_timeout=60)
    run = bench.run()
    bench.queues.states = {"i1": "running"}
    bench.queues.stops = {"i1"}
    bench.after(5)
    bench.after(50)
    assert run.cancelled == 0
    bench.after(20)
    bench.after(5)
    assert run.cancelled == 1


def test_a_run_that_ends_itself_on_a_stop_is_stopped_not_failed() -> None:
    bench = Bench()
    run = bench.run()
    bench.queues.states, bench.queues.stops = {"i1": "running"}, {"i1"}
    bench.after(5)
    run.be(RunState.FAILED, reason="Error", message="exit code 255", exit_code=255)
    bench.after(5)
    assert bench.ends["i1"] == Outcome(state=RunState.STOPPED)


def test_a_run_that_never_starts_is_cancelled_and_failed() -> None:
    bench = Bench(start_timeout=100)
    run = bench.run(state=RunState.PENDING)
    bench.after(99)
    assert run.cancelled == 0
    bench.after(2)
    assert run.cancelled == 1
    run.be(RunState.STOPPED)
    bench.after(1)
    failure = bench.ends["i1"].failure
    assert failure is not None
    assert failure.reason == "StartTimeout"
    assert "100 s" in failure.message


def test_a_start_timeout_of_zero_is_none() -> None:
    bench = Bench(start_timeout=0)
    run = bench.run(state=RunState.PENDING)
    bench.after(1e6)
    assert run.cancelled == 0


def test_a_running_run_has_no_start_timeout() -> None:
    bench = Bench(start_timeout=100)
    run = bench.run(state=RunState.RUNNING)
    bench.after(1e6)
    assert run.cancelled == 0


def test_a_warning_is_told_once() -> None:
    bench = Bench()
    run = bench.run(state=RunState.PENDING)
    run.be(
        RunState.PENDING,
        reason="Unschedulable",
        message="0/3 nodes have a free GPU",
        hint="wait or add nodes",
    )
    for _ in range(5):
        bench.after(1)
    assert [(item, notice.message) for item, notice in bench.queues.warnings] == [
        ("i1", "Unschedulable: 0/3 nodes have a free GPU (wait or add nodes)")
    ]


def test_the_same_warning_of_two_runs_reaches_both() -> None:
    bench = Bench()
    for item in ("i1", "i2"):
        bench.run(item).be(RunState.PENDING, reason="Unschedulable", message="no GPU")
    bench.after()
    assert sorted(item for item, _ in bench.queues.warnings) == ["i1", "i2"]


def test_an_outage_of_the_backend_touches_no_run_and_loses_no_end() -> None:
    """openings L1, L7."""
    bench = Bench()
    ended, running = bench.run("ended"), bench.run("running")
    bench.queues.down = True
    bench.queues.stops = {"running"}
    ended.be(RunState.FINISHED)
    for _ in range(60):
        bench.after(60)
    assert (ended.released, running.cancelled, bench.tracker.live()) == (0, 0, 1)
    bench.queues.down = False
    bench.after(60)
    assert (ended.released, running.cancelled) == (1, 1)
    assert bench.ends["ended"].state is RunState.FINISHED


def test_a_slot_is_free_before_the_end_is_reported() -> None:
    """openings L11."""
    bench = Bench(queues=MemoryQueues(outcomes=False))
    run = bench.run()
    run.be(RunState.FINISHED)
    bench.after(1)
    assert bench.tracker.live() == 0
    assert bench.queues.finished == []


def test_a_backend_that_hears_only_of_failures_sees_the_run_that_reported_itself() -> None:
    bench = Bench(queues=MemoryQueues(outcomes=False))
    run = bench.run()
    run.be(RunState.FINISHED)
    bench.after(1)
    bench.queues.states = {"i1": "finished"}
    bench.after(5)
    assert bench.ends["i1"] == Outcome(state=RunState.FINISHED)
    assert run.released == 1


def test_a_run_that_never_reported_itself_fails_where_nothing_else_would_end_it() -> None:
    bench = Bench(queues=MemoryQueues(outcomes=False))
    run = bench.run()
    run.be(RunState.FINISHED)
    bench.after(1)
    bench.after(SETTLE_SECONDS - 2)
    assert bench.queues.finished == []
    bench.after(5)
    failure = bench.ends["i1"].failure
    assert failure is not None
    assert failure.reason == "NoRun"
    assert "wandb.init" in failure.hint


def test_schedulers_are_counted_apart() -> None:
    bench = Bench()
    bench.run("job")
    bench.run("sweep", kind="sweep-scheduler")
    assert (bench.tracker.live(), bench.tracker.live("sweep-scheduler")) == (1, 1)


def test_memory_does_not_grow_with_the_jobs_that_were() -> None:
    """openings L10, in small: after ten thousand runs nothing is left of them."""
    bench = Bench()
    for number in range(10_000):
        bench.run(f"i{number}").be(RunState.FINISHED)
        if number % 500 == 499:
            bench.after(1)
            bench.queues.finished.clear()
    assert not any(
        (bench.tracker._live, bench.tracker._settling, bench.tracker._todo, bench.reports._waiting)
    )


def test_a_run_that_starts_while_it_cannot_be_cancelled_is_in_time() -> None:
    bench = Bench(start_timeout=100)
    run = bench.run(state=RunState.PENDING)
    run.cancel_error = RunnerError("the engine does not answer", retryable=True)
    bench.after(101)
    run.cancel_error = None
    run.be(RunState.RUNNING)
    bench.after(1)
    run.be(RunState.FINISHED)
    bench.after(1)
    assert bench.ends["i1"] == Outcome(state=RunState.FINISHED)


def test_a_user_who_stops_a_run_that_has_not_started_hears_of_no_timeout() -> None:
    bench = Bench(start_timeout=100)
    run = bench.run(state=RunState.PENDING)
    bench.queues.stops = {"i1"}
    bench.after(5)
    assert run.cancelled == 1
    bench.after(200)
    run.be(RunState.STOPPED)
    bench.after(1)
    assert bench.ends["i1"] == Outcome(state=RunState.STOPPED)


def test_a_bug_while_an_end_is_read_does_not_lose_it() -> None:
    bench = Bench()
    run = bench.run()
    run.be(RunState.FAILED, reason="Error", message="exit code 1", exit_code=1)
    run.log_bug = ValueError("surprise")
    with pytest.raises(ValueError, match="surprise"):
        bench.tracker.tick(bench.now)
    run.log_bug = None
    bench.after(1)
    assert bench.ends["i1"].state is RunState.FAILED
