"""Live runs are followed to their end, whatever the world does meanwhile. Time is passed in."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest

from launch_agent.control.preemption import MOST_RESUMES
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
        self.forgotten: list[str] = []
        self.reports = Reports(
            self.queues, Metrics(), lambda claim: self.queues.requeue(claim, None, most=MOST_RESUMES)
        )
        self.tracker = Tracker(
            self.queues,
            self.reports,
            Metrics(),
            start_timeout=self.start_timeout,
            stop_timeout=self.stop_timeout,
            log_tail=2,
            forget=self.forgotten.append,
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

    def preempted(self, times: int) -> ScriptedRun:
        """A run that is preempted, after its job was put back so many times."""
        self.queues.claimed["i1"] = "i1"
        self.queues.specs["i1"] = {"_resume_count": times, "sweep_id": "s"}
        run = self.run()
        run.be(RunState.PREEMPTED, message="the scheduler needed the node")
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


def test_time_in_a_controllers_queue_is_not_counted() -> None:
    bench = Bench(start_timeout=100)
    run = bench.run(state=RunState.PENDING)
    bench.after(50)
    run.be(RunState.PENDING, held=True)
    for _ in range(100):
        bench.after(60)
    run.be(RunState.PENDING)
    bench.after(10)
    bench.after(49)
    assert run.cancelled == 0
    bench.after(2)
    assert run.cancelled == 1


def test_time_in_which_a_run_ran_is_not_counted_when_it_waits_again() -> None:
    """Kueue and Volcano take a running job's nodes away and start it again later."""
    bench = Bench(start_timeout=100)
    run = bench.run(state=RunState.PENDING)
    bench.after(60)
    run.be(RunState.RUNNING)
    bench.after(5000)
    bench.after(5000)
    run.be(RunState.PENDING)
    bench.after(1)
    bench.after(30)
    assert run.cancelled == 0
    bench.after(30)
    assert run.cancelled == 1


def test_a_wait_for_quota_is_told_once() -> None:
    bench = Bench()
    run = bench.run(state=RunState.PENDING)
    run.be(RunState.PENDING, held=True)
    bench.after(1)
    for missing in range(5):
        run.be(RunState.PENDING, held=True, reason="QuotaReserved", message=f"{missing} more GPUs needed")
        bench.after(1)
    assert [notice.message for _, notice in bench.queues.warnings] == ["waiting for quota"]


def test_a_warning_that_could_not_be_told_is_told_later() -> None:
    bench = Bench()
    run = bench.run(state=RunState.RUNNING)
    run.be(RunState.RUNNING, reason="Evicting", message="the node is drained")
    bench.queues.down = True
    bench.after(1)
    bench.queues.down = False
    bench.after(1)
    bench.after(1)
    assert len(bench.queues.warnings) == 1


def test_a_look_at_a_run_that_did_not_change_costs_one_call() -> None:
    bench = Bench()
    run = bench.run(state=RunState.RUNNING)
    bench.after(1)
    warned = bench.queues.calls.count("warn")
    for _ in range(10):
        bench.after(0.1)
    assert bench.queues.calls.count("warn") == warned
    assert run.looks >= 10


@pytest.mark.parametrize("times", [0, 4])
def test_a_preempted_run_goes_back_to_its_queue(times: int) -> None:
    """openings L9."""
    bench = Bench()
    run = bench.preempted(times)
    bench.after(1)
    assert bench.queues.finished == []
    [lease] = bench.queues.waiting["q"]
    assert (lease.item_id, lease.spec["_resume_count"], lease.spec["sweep_id"]) == (
        "i1-again",
        times + 1,
        "s",
    )
    assert (run.released, bench.forgotten, bench.tracker.live()) == (1, ["i1"], 0)


def test_a_run_that_is_preempted_too_often_fails() -> None:
    bench = Bench()
    run = bench.preempted(5)
    run.output = "epoch 3\n"
    bench.after(1)
    failure = bench.ends["i1"].failure
    assert failure is not None
    assert (failure.reason, failure.log, run.released) == ("Preempted", "epoch 3\n", 1)
    assert "several times" in failure.hint
    assert not bench.queues.waiting.get("q")


def test_a_preempted_run_waits_for_its_backend() -> None:
    bench = Bench()
    run = bench.preempted(0)
    bench.queues.down = True
    for _ in range(10):
        bench.after(60)
    assert (run.released, bench.tracker.live()) == (0, 0)
    bench.queues.down = False
    bench.after(120)
    assert (run.released, len(bench.queues.waiting["q"])) == (1, 1)


def test_a_job_that_cannot_be_put_back_fails_and_says_why() -> None:
    bench = Bench()
    run = bench.preempted(0)
    bench.queues.claimed.clear()
    bench.after(1)
    failure = bench.ends["i1"].failure
    assert failure is not None
    assert (failure.reason, run.released) == ("Preempted", 1)
    assert "was not put back into its queue: item i1 is not claimed" in failure.hint


def test_a_run_that_is_preempted_while_its_user_stops_it_is_stopped() -> None:
    bench = Bench()
    run = bench.preempted(0)
    run.be(RunState.RUNNING)
    bench.queues.stops = {"i1"}
    bench.after(5)
    run.be(RunState.PREEMPTED)
    bench.after(1)
    assert bench.ends["i1"] == Outcome(state=RunState.STOPPED)
    assert not bench.queues.waiting.get("q")


def test_a_log_that_cannot_be_read_at_the_end_is_tried_again() -> None:
    bench = Bench()
    run = bench.run()
    run.be(RunState.FAILED, reason="Error", message="exit code 1", exit_code=1)
    run.log_bug = RunnerError("the API server does not answer", retryable=True)
    bench.after(1)
    assert bench.queues.finished == []
    run.log_bug = None
    bench.after(1)
    failure = bench.ends["i1"].failure
    assert failure is not None
    assert failure.log == "epoch 1\n"


def test_a_log_that_stays_unreadable_delays_an_end_for_a_while_only() -> None:
    bench = Bench()
    run = bench.run()
    run.be(RunState.FAILED, reason="Error", message="exit code 1", exit_code=1)
    run.log_bug = RunnerError("the API server does not answer", retryable=True)
    for _ in range(20):
        bench.after(1)
    failure = bench.ends["i1"].failure
    assert failure is not None
    assert "does not answer" in failure.log


def test_the_log_of_a_run_that_reports_itself_late_is_read_before_it_may_be_gone() -> None:
    bench = Bench(queues=MemoryQueues(outcomes=False))
    run = bench.run()
    run.be(RunState.FINISHED)
    bench.after(3)
    bench.after(3)
    run.output = ""  # its time to live is over
    bench.after(SETTLE_SECONDS)
    failure = bench.ends["i1"].failure
    assert failure is not None
    assert failure.log == "epoch 1\n"


def test_the_counts_by_state_are_right_without_being_counted() -> None:
    bench = Bench()
    runs = [bench.run(f"i{number}", RunState.PENDING) for number in range(6)]
    bench.after(1)
    for run in runs[:4]:
        run.be(RunState.RUNNING)
    bench.after(1)
    runs[0].be(RunState.FINISHED)
    runs[5].be(RunState.STOPPED)
    bench.after(1)
    counts = {state: count for (_, state), count in bench.tracker._counts.items() if count}
    assert counts == {RunState.RUNNING: 3, RunState.PENDING: 1}


def test_a_jump_of_the_wall_clock_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers run on the monotonic clock: a machine whose clock is set starts and stops nothing."""
    bench = Bench(start_timeout=100)
    run = bench.run(state=RunState.PENDING)
    for jump in (-1e9, 1e9):
        monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 + jump)
        bench.after(10)
    assert (run.cancelled, bench.queues.finished) == (0, [])


def test_stop_checks_come_less_often_the_more_runs_there_are() -> None:
    bench = Bench()
    for number in range(5000):
        bench.run(f"i{number}")
    for _ in range(60):
        bench.after(1)
    assert bench.queues.calls.count("stop_requested") == 6
