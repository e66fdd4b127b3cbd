"""Rounds of the agent: what is taken, claimed, launched, refused, and taken up again. Time is passed in."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from launch_agent.control.journal import Entry, Journal
from launch_agent.control.loop import HEARTBEAT_SECONDS, Agent, repeat
from launch_agent.control.patience import Patience
from launch_agent.control.pipeline import Pipeline, Ticket
from launch_agent.control.pool import LaunchPool
from launch_agent.control.reports import Reports
from launch_agent.control.targets import Targets
from launch_agent.control.tracker import Tracker
from launch_agent.errors import (
    QueueDenied,
    QueueUnavailable,
    RegistryUnreachable,
    RunnerError,
    SubmitRejected,
)
from launch_agent.queues import AgentStatus, Directive
from launch_agent.runners import Runner
from launch_agent.spec.identity import run_id_for
from launch_agent.spec.model import Lease, RunState
from launch_agent.spec.passon import PassOn
from launch_agent.spec.policy import Policy
from launch_agent.spec.secret import Secret
from launch_agent.telemetry.metrics import Metrics
from tests.fakes.configs import agent_config
from tests.fakes.memory_queues import MemoryQueues
from tests.fakes.scripted_images import ScriptedImages
from tests.fakes.scripted_runner import ScriptedRun, ScriptedRunner


class OneTarget(Targets):
    """Serves every resource with the one runner that the test holds."""

    def __init__(
        self,
        runner: Runner,
        journal: Journal,
        options: dict[str, Any],
        made: Callable[[Runner], None],
        likely: Sequence[str],
    ) -> None:
        super().__init__(options, journal, made, likely=likely)
        self._one = runner
        self.away: set[str] = set()
        self.closed_to_us: set[str] = set()

    def _make(self, resource: str) -> Runner:
        if resource in self.away:
            raise RunnerError(f"{resource} does not answer", retryable=True)
        if resource in self.closed_to_us:
            raise RunnerError(f"{resource} lets us list nothing")
        self._one.verify()
        self._made(self._one)
        self._journal.remember_resource(resource)
        return self._one


@dataclass
class Bench:
    folder: Path
    changes: dict[str, Any] = field(default_factory=dict)
    queues: MemoryQueues = field(default_factory=lambda: MemoryQueues(waiting={"q": []}))
    runner: ScriptedRunner = field(default_factory=ScriptedRunner)
    builder: str = "noop"
    likely: Sequence[str] = ()
    pass_on: PassOn = field(default_factory=PassOn)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.config = agent_config(self.folder, **self.changes)
        self.start()

    def start(self) -> None:
        """A new process: everything in memory is gone, the world is as it was."""
        self.draining = threading.Event()
        self.journal = Journal(self.config.state_dir)
        self.pool = LaunchPool(4)
        metrics = Metrics()
        self.reports = Reports(self.queues, metrics)
        self.tracker = Tracker(
            self.queues, self.reports, metrics, start_timeout=0, stop_timeout=60, log_tail=200
        )
        self.targets = OneTarget(
            self.runner,
            self.journal,
            dict(self.config.runner),
            lambda runner: self.tracker.adopt(runner, self.config.name, self.now),
            self.likely,
        )
        self.pipeline = Pipeline(
            self.config,
            images=ScriptedImages(self.builder),
            patience=Patience(
                self.queues,
                metrics,
                start_timeout=self.config.start_timeout,
                draining=self.draining,
                clock=lambda: self.now,
            ),
            targets=self.targets,
            tracker=self.tracker,
            reports=self.reports,
            journal=self.journal,
            metrics=metrics,
            pass_on=self.pass_on,
            clock=lambda: self.now,
        )
        self.agent = Agent(
            self.config,
            queues=self.queues,
            pipeline=self.pipeline,
            tracker=self.tracker,
            targets=self.targets,
            journal=self.journal,
            pool=self.pool,
            metrics=metrics,
            draining=self.draining,
            clock=lambda: self.now,
        )

    def round(self, seconds: float = 1.0) -> float:
        self.now += seconds
        pause = self.agent.tick()
        assert self.pool.wait_idle(10)
        self.tracker.tick(self.now)
        self.reports.tick(self.now)
        return pause

    @property
    def failures(self) -> dict[str, str]:
        return {item: str(outcome.failure) for item, outcome in self.queues.finished if outcome.failure}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    with bench.journal.held():
        yield bench


@pytest.mark.req("AGT-4", "JOB-4", "JOB-5", "QUEUE-12")
def test_a_job_goes_from_its_queue_to_the_runner(bench: Bench) -> None:
    bench.queues.push("q", "i1", resource_args={"local-container": {"env": ["A=b"]}})
    bench.round()
    request = bench.runner.runs["i1"].request
    assert request is not None
    assert (request.image, request.resource_args) == ("img:1", {"env": ["A=b"]})
    assert request.identity.run_id == run_id_for("test-agent", "i1")
    assert request.env["WANDB_RUN_ID"] == run_id_for("test-agent", "i1")
    assert bench.queues.claimed == {"i1": run_id_for("test-agent", "i1")}
    assert bench.journal.pending() == []


@pytest.mark.req("AGT-6", "CFG-4")
def test_no_more_jobs_than_max_jobs_are_taken(bench: Bench) -> None:
    for number in range(5):
        bench.queues.push("q", f"i{number}")
    bench.round()
    bench.round()
    assert sorted(bench.runner.runs) == ["i0", "i1"]
    bench.runner.runs["i0"].be(RunState.FINISHED)
    bench.round()
    bench.round()
    assert sorted(bench.runner.runs) == ["i0", "i1", "i2"]


@pytest.mark.req("CFG-5")
def test_minus_one_is_no_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"max_jobs": -1})
    with bench.journal.held():
        for number in range(60):
            bench.queues.push("q", f"i{number}")
        for _ in range(20):
            bench.round()
        assert len(bench.runner.runs) == 60


@pytest.mark.req("AGT-3")
def test_a_full_queue_does_not_starve_another(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"queues": ("busy", "quiet"), "max_jobs": 1})
    bench.queues.waiting = {"busy": [], "quiet": []}
    with bench.journal.held():
        for number in range(3):
            bench.queues.push("busy", f"b{number}")
        bench.queues.push("quiet", "only")
        bench.round()
        bench.runner.runs["b0"].be(RunState.FINISHED)
        bench.round()
        bench.round()
        assert sorted(bench.runner.runs) == ["b0", "only"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"docker": {}}, "names nothing to run"),
        ({"resource_args": {"local-container": {"privileged": True}}}, "privileged"),
        ({"resource": "local-process", "docker": {}, "overrides": {"entry_point": ["true"]}}, "entry-point"),
        ({"docker": {"docker_image": "UPPER case"}}, "not an image reference"),
        ({"docker": {}, "job": "team/p/job-train:v3"}, "builder"),
        ({"project": 7}, "project"),
    ],
)
def test_what_cannot_run_is_failed_with_its_reason(bench: Bench, spec: dict[str, Any], words: str) -> None:
    bench.queues.push("q", "bad", **spec)
    bench.queues.push("q", "good")
    bench.round()
    bench.round()
    assert words in bench.failures["bad"]
    assert list(bench.runner.runs) == ["good"]


@pytest.mark.req("BLD-8", "NOOP-4", "JOB-4")
@pytest.mark.parametrize("builder", ["docker", "kaniko", "noop"])
def test_a_ready_image_runs_whatever_the_builder(tmp_path: Path, builder: str) -> None:
    bench = Bench(tmp_path, builder=builder)
    with bench.journal.held():
        bench.queues.push("q", "i1")
        bench.round()
        assert list(bench.runner.runs) == ["i1"]


@pytest.mark.req("JOB-6", "JOB-7", "NOOP-3")
def test_a_job_that_needs_a_builder_names_the_setting_and_the_agent_goes_on(bench: Bench) -> None:
    bench.queues.push("q", "code", docker={}, job="team/p/job-train:latest")
    bench.queues.push("q", "image")
    bench.round()
    bench.round()
    assert "builder.type is noop" in bench.failures["code"]
    assert list(bench.runner.runs) == ["image"]


def test_a_runner_that_refuses_fails_that_job_alone(bench: Bench) -> None:
    bench.runner.errors = [SubmitRejected("no such volume", hint="name one that exists")]
    bench.queues.push("q", "bad")
    bench.round()
    bench.queues.push("q", "good")
    bench.round()
    assert "no such volume" in bench.failures["bad"]
    assert list(bench.runner.runs) == ["good"]


def test_a_bug_in_a_launch_is_one_failure_with_its_trace(bench: Bench) -> None:
    bench.runner.errors = [ZeroDivisionError("surprise")]
    bench.queues.push("q", "i1")
    bench.round()
    (_, outcome), *more = bench.queues.finished
    assert more == []
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.stage) == ("InternalError", "run")
    assert "ZeroDivisionError: surprise" in outcome.failure.log


def test_a_target_that_restarts_fails_no_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch_agent.control.patience._FIRST_PAUSE", 0.001)
    bench.runner.errors = [RunnerError("the engine does not answer", retryable=True)] * 5
    bench.queues.push("q", "i1")
    bench.round()
    assert bench.failures == {}
    assert list(bench.runner.runs) == ["i1"]
    assert [item for item, _ in bench.queues.warnings] == ["i1"]
    assert "the engine does not answer" in bench.queues.warnings[0][1].message


def test_a_registry_that_stays_away_holds_no_slot_for_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch_agent.control.patience._FIRST_PAUSE", 0.001)
    # Every look at the clock is a minute later.
    bench.pipeline._patience._clock = itertools.count(0.0, 60.0).__next__
    bench.runner.errors = [RegistryUnreachable("no such host", retryable=True)] * 20
    bench.queues.push("q", "i1")
    bench.round()
    bench.round()
    assert bench.failures["i1"].startswith("RegistryUnreachable: ")
    assert 3 < bench.runner.submits < 9


def test_a_user_stops_a_launch_that_waits_for_its_target(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch_agent.control.patience._FIRST_PAUSE", 0.001)
    bench.runner.errors = [RunnerError("the engine does not answer", retryable=True)] * 1000
    bench.queues.stops = {"i1"}
    bench.queues.push("q", "i1")
    bench.round()
    assert [(item, outcome.state) for item, outcome in bench.queues.finished] == [("i1", RunState.STOPPED)]
    assert bench.runner.submits == 1
    assert bench.journal.pending() == []


def test_a_lost_lease_is_dropped_and_not_reported(bench: Bench) -> None:
    bench.queues.push("q", "i1")
    taken = bench.queues.ack
    bench.queues.ack = lambda claims: set()  # type: ignore[method-assign]
    bench.round()
    bench.queues.ack = taken  # type: ignore[method-assign]
    bench.round()
    assert bench.runner.runs == {}
    assert bench.queues.finished == []
    assert bench.journal.pending() == []


def test_an_ack_whose_answer_is_lost_is_settled_by_asking(bench: Bench) -> None:
    bench.queues.push("q", "i1")
    bench.queues.ack_answers_lost = 1
    with pytest.raises(QueueUnavailable):
        bench.round()
    assert bench.runner.runs == {}
    bench.round()
    assert list(bench.runner.runs) == ["i1"]


def test_a_launch_that_a_kill_cut_short_is_taken_up_again(bench: Bench) -> None:
    bench.queues.push("q", "i1")
    (lease,) = bench.queues.waiting["q"]
    bench.queues.waiting["q"] = []
    identity = bench.pipeline.identify(lease)
    bench.queues.leased["i1"] = lease
    bench.journal.record(Entry(lease=lease, identity=identity))
    bench.queues.ack([identity])
    bench.start()
    bench.agent.recover()
    bench.round()
    assert list(bench.runner.runs) == ["i1"]
    assert bench.journal.pending() == []


def test_a_run_of_which_not_everything_was_made_is_launched_again(bench: Bench) -> None:
    """The agent was killed between the run's object and its Secret; its folder stayed."""
    run = half_made(bench, "i1")
    bench.start()
    bench.agent.recover()
    assert bench.tracker.run_of("i1") is run
    bench.round()
    assert bench.runner.submits == 1
    assert bench.journal.pending() == []
    assert bench.tracker.live() == 1
    run.be(RunState.FINISHED)
    bench.round()
    assert [item for item, _ in bench.queues.finished] == ["i1"]


def test_a_whole_run_is_not_launched_again(bench: Bench) -> None:
    run = half_made(bench, "i1")
    run.half = False
    bench.start()
    bench.agent.recover()
    bench.round()
    assert bench.runner.submits == 0
    assert bench.journal.pending() == []


def test_a_run_that_ends_before_it_is_launched_again_is_not(bench: Bench) -> None:
    """Nothing was missing: it only seemed so while it had not begun."""
    run = half_made(bench, "i1")
    bench.start()
    bench.agent.recover()
    run.be(RunState.FINISHED)
    bench.tracker.tick(bench.now)
    bench.reports.tick(bench.now)
    bench.queues.claimed["i1"] = run.identity.run_id  # the public backend's last word of a good end
    bench.round()
    assert bench.runner.submits == 0
    assert bench.tracker.live() == 0
    assert len(bench.queues.finished) == 1


def test_a_run_that_cannot_be_made_whole_is_ended(bench: Bench) -> None:
    run = half_made(bench, "i1")
    bench.start()
    bench.agent.recover()
    bench.runner.errors.append(SubmitRejected("no such Secret any more"))
    bench.round()
    assert "no such Secret any more" in bench.failures["i1"]
    bench.round()
    assert run.cancelled == 1


def half_made(bench: Bench, item: str) -> ScriptedRun:
    """An acked item whose run was found to be there, perhaps not with all that belongs to it."""
    bench.queues.push("q", item)
    (lease,) = bench.queues.waiting["q"]
    bench.queues.waiting["q"] = []
    bench.queues.leased[item] = lease
    identity = bench.pipeline.identify(lease)
    bench.journal.record(Entry(lease=lease, identity=identity))
    bench.queues.ack([identity])
    bench.journal.remember_resource("local-container")
    run = ScriptedRun(identity=identity, half=True)
    run.be(RunState.PENDING)
    bench.runner.runs[item] = run
    return run


def test_a_launch_whose_lease_went_to_another_is_given_up(bench: Bench) -> None:
    bench.queues.push("q", "i1")
    (lease,) = bench.queues.waiting["q"]
    bench.queues.waiting["q"] = []
    bench.journal.record(Entry(lease=lease, identity=bench.pipeline.identify(lease)))
    bench.queues.claimed["i1"] = "someoneelse"
    bench.agent.recover()
    bench.round()
    assert bench.runner.runs == {}
    assert bench.journal.pending() == []


def test_runs_of_an_earlier_process_are_adopted_and_counted(bench: Bench) -> None:
    """openings L4."""
    for item in ("i1", "i2"):
        bench.queues.push("q", item)
    bench.round()
    bench.start()
    bench.agent.recover()
    bench.queues.push("q", "i3")
    bench.round()
    assert bench.runner.submits == 2
    bench.runner.runs["i1"].be(RunState.FINISHED)
    bench.round()
    bench.round()
    assert sorted(bench.runner.runs) == ["i1", "i2", "i3"]


def test_the_backend_hears_of_us_at_its_interval_and_not_at_every_round(bench: Bench) -> None:
    for _ in range(100):
        bench.round(1.0)
    assert bench.queues.calls.count("heartbeat") == 100 / HEARTBEAT_SECONDS
    assert bench.queues.calls.count("pop") == 100


def test_a_user_who_stops_the_agent_stops_its_polls_and_no_run(bench: Bench) -> None:
    """openings L7."""
    bench.queues.push("q", "i1")
    bench.round()
    bench.queues.directive = Directive(stop=True)
    bench.queues.push("q", "i2")
    bench.round(HEARTBEAT_SECONDS)
    assert bench.draining.is_set()
    assert list(bench.runner.runs) == ["i1"]
    assert bench.runner.runs["i1"].cancelled == 0
    bench.queues.statuses.clear()
    bench.agent.report_end()
    assert bench.queues.statuses == [AgentStatus.KILLED]


def test_an_outage_makes_rounds_rarer_and_ends_nothing(bench: Bench) -> None:
    """openings L1, L2."""
    until, wake = threading.Event(), threading.Event()
    waits: list[float] = []
    errors = [
        QueueUnavailable("down"),
        QueueUnavailable("slow down", retry_after=400),
        QueueDenied("bad key"),
    ]

    def tick() -> float:
        if errors:
            raise errors.pop(0)
        until.set()
        return 0.0

    wake.wait = lambda timeout=None: waits.append(timeout or 0.0) or True  # type: ignore[method-assign]
    repeat(tick, until=until, wake=wake, metrics=Metrics(), interval=1.0)
    assert len(waits) == 3
    assert waits[1] >= 400
    assert errors == []


def test_a_bug_in_a_round_does_not_end_the_rounds(caplog: pytest.LogCaptureFixture) -> None:
    until, wake = threading.Event(), threading.Event()
    wake.wait = lambda timeout=None: True  # type: ignore[method-assign]
    rounds: list[int] = []

    def tick() -> float:
        rounds.append(1)
        if len(rounds) == 3:
            until.set()
        raise IndexError("surprise")

    repeat(tick, until=until, wake=wake, metrics=Metrics(), interval=1.0)
    assert len(rounds) == 3
    assert "IndexError: surprise" in caplog.text


def test_sweep_schedulers_run_only_where_allowed_and_installed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    sweep = {
        "uri": "placeholder-uri-scheduler",
        "docker": {},
        "resource": "local-process",
        "sweep_id": "s1",
        "overrides": {"entry_point": ["wandb", "scheduler", "WANDB_SWEEP_ID"]},
    }
    with bench.journal.held():
        bench.queues.push("q", "s1", **sweep)
        bench.round()
        bench.round()
        assert "sweep-schedulers" in bench.failures["s1"]


SWEEP = {
    "uri": "placeholder-uri-scheduler",
    "docker": {},
    "resource": "local-process",
    "sweep_id": "s1",
    "overrides": {"entry_point": ["wandb", "scheduler", "s1"]},
}


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    """Makes a bench that runs schedulers of sweeps."""
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    return lambda **changes: Bench(tmp_path, {"policy": Policy(sweep_schedulers=True), **changes})


@pytest.mark.parametrize(("limit", "started"), [(0, 0), (1, 1), (2, 2), (-1, 4)])
def test_no_more_schedulers_than_allowed_are_taken_in_one_round(
    sweeps: Callable[..., Bench], limit: int, started: int
) -> None:
    bench = sweeps(max_jobs=10, max_schedulers=limit)
    with bench.journal.held():
        for number in range(4):
            bench.queues.push("q", f"s{number}", **SWEEP)
        bench.queues.push("q", "job")
        bench.round()
        assert len(bench.runner.runs) == started + 1
        assert "job" in bench.runner.runs
        assert bench.failures == {}
        assert len(bench.queues.leased) == 4 - started, "the others go back by themselves"


def test_a_scheduler_under_way_is_not_dropped_at_a_start(sweeps: Callable[..., Bench]) -> None:
    """It may be claimed already, and then nobody else would ever run it."""
    bench = sweeps(max_schedulers=1)
    with bench.journal.held():
        bench.queues.push("q", "first", **SWEEP)
        bench.round()
        bench.queues.push("q", "second", **SWEEP)
        (lease,) = bench.queues.pop(["q"], 1).leases
        entry = Entry(lease=lease, identity=bench.pipeline.identify(lease))
        bench.journal.record(entry)
        bench.queues.ack([entry.identity])
        bench.start()
        bench.agent.recover()
        bench.round()
        assert sorted(bench.runner.runs) == ["first", "second"]


def test_a_target_that_is_away_at_the_start_is_visited_until_it_is_back(bench: Bench) -> None:
    """And meanwhile, for a minute, no job is taken, since what runs there is not known."""
    for item in ("i1", "i2"):
        bench.queues.push("q", item)
    bench.round()
    bench.start()
    bench.runner.away = RunnerError("the engine does not answer", retryable=True)
    bench.agent.recover()
    bench.queues.push("q", "i3")
    for _ in range(20):
        bench.round(1.0)
    assert "i3" not in bench.queues.claimed
    bench.runner.away = None
    for _ in range(6):
        bench.round(1.0)
    assert bench.tracker.live() == 2
    bench.runner.runs["i1"].be(RunState.FINISHED)
    bench.round()
    bench.round()
    assert [item for item, _ in bench.queues.finished] == ["i1"]
    assert "i3" in bench.runner.runs


def test_a_target_that_stays_away_holds_up_jobs_for_a_minute_only(bench: Bench) -> None:
    bench.journal.remember_resource("sagemaker")
    bench.targets.away = {"sagemaker"}
    bench.agent.recover()
    bench.queues.push("q", "i1")
    bench.round(59)
    assert bench.runner.runs == {}
    bench.round(2)
    assert list(bench.runner.runs) == ["i1"]


def test_runs_on_the_agents_own_cluster_get_its_proxy_and_authorities(bench: Bench) -> None:
    """openings H7."""
    proxy = Secret("http://user:pass@proxy:3128")
    bench.pass_on = PassOn(
        env={"NO_PROXY": ".svc"}, secret_env={"HTTPS_PROXY": proxy}, authorities="gpu-ca/ca.crt"
    )
    bench.start()
    for item, resource in (("i1", "kubernetes"), ("i2", "local-container")):
        bench.queues.push("q", item, resource=resource, resource_args={resource: {}})
    bench.round()
    inside, outside = (bench.runner.runs[item].request for item in ("i1", "i2"))
    assert inside is not None
    assert outside is not None
    assert (inside.env["NO_PROXY"], inside.authorities) == (".svc", "gpu-ca/ca.crt")
    assert (inside.secret_env["HTTPS_PROXY"], inside.secret_env["WANDB_API_KEY"]) == (proxy, Secret("k" * 40))
    assert not {"NO_PROXY", "HTTPS_PROXY"} & {*outside.env, *outside.secret_env}
    assert outside.authorities == ""


def test_a_new_pod_finds_the_runs_of_the_one_before(bench: Bench, tmp_path: Path) -> None:
    """openings L4: also where its state folder is empty, as an emptyDir is."""
    bench.queues.push("q", "i1")
    bench.round()
    (tmp_path / "new").mkdir()
    bench.config = agent_config(tmp_path / "new")
    bench.likely = ["kubernetes"]
    bench.start()
    with bench.journal.held():
        bench.agent.recover()
        assert (bench.tracker.live(), bench.journal.known_resources()) == (1, ["kubernetes"])
        bench.runner.runs["i1"].be(RunState.FINISHED)
        bench.round()
        assert [item for item, _ in bench.queues.finished] == ["i1"]


def test_a_cluster_that_is_not_meant_for_the_agent_holds_up_no_job(bench: Bench) -> None:
    bench.likely = ["kubernetes"]
    bench.start()
    bench.targets.closed_to_us = {"kubernetes"}
    bench.queues.push("q", "i1")
    bench.agent.recover()
    bench.round()
    assert list(bench.runner.runs) == ["i1"]


def test_a_cluster_that_was_used_is_asked_until_it_answers(bench: Bench) -> None:
    bench.likely = ["kubernetes"]
    bench.start()
    bench.journal.remember_resource("kubernetes")
    bench.targets.closed_to_us = {"kubernetes"}
    bench.queues.push("q", "i1")
    bench.agent.recover()
    bench.round()
    assert bench.runner.runs == {}


def test_a_disk_that_takes_no_entry_claims_nothing_and_is_told_without_a_trace(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.queues.push("q", "i1")
    shutil.rmtree(bench.config.state_dir / "launches")
    until, wake = threading.Event(), threading.Event()
    wake.wait = lambda timeout=None: until.set() or True  # type: ignore[method-assign]
    repeat(bench.agent.tick, until=until, wake=wake, metrics=Metrics(), interval=1.0)
    assert bench.queues.claimed == {}
    assert "No such file or directory" in caplog.text
    assert "bug" not in caplog.text


@pytest.mark.parametrize("where", ["resource_args", "overrides", "run_id", "anything"])
def test_a_spec_of_any_depth_fails_alone(bench: Bench, where: str) -> None:
    """One such item at the head of a queue must not keep the others from being taken."""
    deep: Any = "bottom"
    for _ in range(950):
        deep = {"a": [deep]}
    bench.queues.push("q", "deep", **{where: {"local-container": deep}})
    bench.queues.push("q", "good")
    bench.round()
    bench.round()
    assert "more than 100 levels deep" in bench.failures["deep"]
    assert list(bench.runner.runs) == ["good"]


def test_a_bug_in_the_look_at_an_item_fails_that_item_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = bench.pipeline.admit

    def admit(lease: Lease) -> Ticket:
        if lease.item_id == "bad":
            raise ZeroDivisionError("surprise")
        return look(lease)

    monkeypatch.setattr(bench.pipeline, "admit", admit)
    bench.queues.push("q", "bad")
    bench.queues.push("q", "good")
    bench.round()
    bench.round()
    assert "InternalError" in bench.failures["bad"]
    assert list(bench.runner.runs) == ["good"]
