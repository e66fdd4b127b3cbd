"""Who is made of what: the one place where the parts of an agent are put together.

    config ─ file < environment < flags
      │
    queues ──── leases ───> loop ── admit, ack ──> launch pool
      │                      │                        │ pipeline: source -> image -> environment -> submit
      │                   journal                     v
      │                (on its way)                 runner ── run on the target resource
      │                                               │
      └─ reports <── ends, warnings ── tracker <──────┘ status, stop, timeouts, logs

Three threads besides the pool: the loop, the tracker, the reports; the main thread waits for signals. The
first SIGTERM or SIGINT drains: no more polls, launches under way are finished as far as the time allows, runs
go on. The second ends the process at once. What was not finished is in the journal or on its target.

Where several agents share a name, all this begins once the agent holds their lease (`leader`), and the
process ends at once where it loses it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.clients.kube import access
from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.keep import KubeKeep
from launch_agent.clients.kube_lease import KubeLease
from launch_agent.config.model import AgentConfig
from launch_agent.control import builder_choice, building
from launch_agent.control.copies import Copies
from launch_agent.control.journal import Journal
from launch_agent.control.leader import ALONE, Election, Lead, Leadership, Terms, holder_name
from launch_agent.control.loop import Agent, repeat
from launch_agent.control.patience import Patience
from launch_agent.control.pipeline import Pipeline
from launch_agent.control.pool import LaunchPool
from launch_agent.control.preemption import Preemption
from launch_agent.control.reports import Reports
from launch_agent.control.targets import Targets
from launch_agent.control.tracker import Tracker
from launch_agent.errors import LaunchError, QueueUnavailable
from launch_agent.queues import QueueClient
from launch_agent.queues.wandb import WandbQueues
from launch_agent.runners import Runner, tell_what_opens
from launch_agent.spec import passon
from launch_agent.spec.model import Resource
from launch_agent.spec.passon import PassOn
from launch_agent.spec.policy.vertex_limits import VertexLimits
from launch_agent.telemetry import log
from launch_agent.telemetry.health import HealthServer
from launch_agent.telemetry.metrics import Metrics
from launch_agent.telemetry.targets import TargetCollector

_log = logging.getLogger(__name__)
_REPORT_SECONDS = 1.0
# A round waits no longer for the place where launches are kept: leases run out meanwhile.
_KEEP_SECONDS = 8.0
_IMAGE = "LAUNCH_AGENT_IMAGE"
# An exit by the outside world; and how long the line that says why may take, should nobody read the log.
_LOST_CODE = 3
_LOST_SECONDS = 0.5


def run(config: AgentConfig) -> int:
    """Run an agent until it is stopped; returns the exit code. Raises LaunchError where it cannot start."""
    log.setup(level=config.log.level, format=config.log.format, file=config.log.file)
    log.hide(config.api_key)
    for warning in config.warnings:
        _log.warning("%s", warning)
    copies = _copies(config)
    journal = Journal(config.state_dir, copies)
    with journal.held():
        try:
            return Process(config, journal).run()
        finally:
            if copies is not None:
                copies.close()


class Process:
    """The parts of one agent, their threads and their end."""

    def __init__(self, config: AgentConfig, journal: Journal, queues: QueueClient | None = None) -> None:
        self._config = config
        self._journal = journal
        self.draining, self._ended, self._wake = (threading.Event() for _ in range(3))
        self._signalled = False
        self.metrics = Metrics()
        self.lead = _lead(config)
        self.queues = queues or WandbQueues(
            config.base_url,
            config.api_key,
            settings=HttpSettings(environment=os.environ),
            hostname=socket.gethostname(),
        )
        self.reports = Reports(self.queues, self.metrics, Preemption(self.queues, journal).put_back)
        self.tracker = Tracker(
            self.queues,
            self.reports,
            self.metrics,
            start_timeout=config.start_timeout,
            stop_timeout=config.stop_timeout,
            log_tail=config.log_tail,
            freed=self._wake.set,
            forget=journal.erase,
        )
        self.targets = Targets(
            runner_options(config, os.environ),
            journal,
            made=self._adopt,
            lead=self.lead,
            likely=_likely(config, os.environ),
        )
        self.metrics.registry.register(TargetCollector(self.targets.health, self.targets.usage))
        self.pool = LaunchPool(config.max_concurrent_launches)
        self._builder = builder_choice.choose(config, os.environ)
        self._http = HttpClient(HttpSettings(environment=os.environ))
        self.images = building.images(config, self._builder, self._http, os.environ)
        self.agent = Agent(
            config,
            queues=self.queues,
            pipeline=self._pipeline(journal),
            tracker=self.tracker,
            targets=self.targets,
            journal=journal,
            pool=self.pool,
            metrics=self.metrics,
            draining=self.draining,
            fence=self.lead.fence,
            freed=self._wake.set,
        )

    def _adopt(self, runner: Runner) -> None:
        tell_what_opens(runner, self.images.opens)
        self.tracker.adopt(runner, self._config.name, time.monotonic())

    def _pipeline(self, journal: Journal) -> Pipeline:
        patience = Patience(
            self.queues,
            self.metrics,
            start_timeout=self._config.start_timeout,
            draining=self.draining,
            clock=time.monotonic,
        )
        return Pipeline(
            self._config,
            images=self.images,
            patience=patience,
            targets=self.targets,
            tracker=self.tracker,
            reports=self.reports,
            journal=journal,
            metrics=self.metrics,
            pass_on=_pass_on(os.environ),
        )

    def run(self) -> int:
        """Start everything, wait for the end, drain."""
        _log.info("builder: %s (%s)", self._builder.type, self._builder.why)
        with self._signals(), self._health(), self._leading() as leads:
            if leads and self._register():
                self.images.clean()
                threading.Thread(target=self._verify, name="verify", daemon=True).start()
                self.agent.recover()
                self._start(
                    "tracker", lambda: self.tracker.tick(time.monotonic()), self._ended, threading.Event()
                )
                self._start("reports", self._report, self._ended, threading.Event())
                self._start("loop", self.agent.tick, self.draining, self._wake)
                self.draining.wait()
                self._drain()
        return 0

    def _verify(self) -> None:
        """Tell what builds lack before the first one fails for it. Image jobs need none of it, so it keeps
        nobody waiting and ends nothing."""
        try:
            self.images.verify()
        except LaunchError as error:
            _log.warning("jobs that are code cannot be built as things are: %s", error)

    @contextmanager
    def _leading(self) -> Iterator[bool]:
        """Be the one agent of this name that works, until the block ends; False if a signal came first."""
        leads = self.lead.acquire(self.draining)
        try:
            yield leads
        finally:
            # A launch that goes on until the process ends must end before another agent looks for its run.
            if not self.pool.in_flight:
                self.lead.release()

    def _register(self) -> bool:
        """Introduce the agent, again and again while the backend cannot be reached; False if a signal came
        first. A key or a queue that the backend does not know ends the start."""
        pause = 1.0
        while not self.draining.is_set():
            try:
                self.agent.register()
            except QueueUnavailable as error:
                _log.warning("next try in %g s: %s", max(pause, error.retry_after), error)
                self.draining.wait(max(pause, error.retry_after))
                pause = min(pause * 2, 30.0)
            else:
                return True
        return False

    def _drain(self) -> None:
        _log.info("draining: no more polls; waiting up to %g s for launches", self._config.drain_timeout)
        deadline = time.monotonic() + self._config.drain_timeout
        self.queues.close()
        if not self.pool.wait_idle(deadline - time.monotonic()):
            _log.warning("%d launches go on at the next start of this agent", self.pool.in_flight)
        if not self.reports.wait_empty(max(0.0, deadline - time.monotonic())):
            _log.warning("%d ends could not be reported; the next start reports them", len(self.reports))
        self._journal.tidy(now=True)
        self.agent.report_end()
        live = self.tracker.live()
        _log.info("the agent ends; %s", f"{live} runs go on" if live else "no run is left")
        self._ended.set()
        self.targets.close()
        self.images.close()
        self._http.close()

    def _report(self) -> float:
        self.reports.wait_for_news(_REPORT_SECONDS)
        self._journal.tidy()
        return self.reports.tick(time.monotonic())

    def _start(
        self, name: str, tick: Callable[[], float], until: threading.Event, wake: threading.Event
    ) -> None:
        interval = self._config.poll_interval
        threading.Thread(
            target=lambda: repeat(tick, until=until, wake=wake, metrics=self.metrics, interval=interval),
            name=name,
            daemon=True,
        ).start()

    @contextmanager
    def _health(self) -> Iterator[None]:
        if not self._config.metrics.port:
            yield
            return
        server = HealthServer(
            self._config.metrics.host, self._config.metrics.port, self.metrics, ready=self._ready
        )
        server.start()
        try:
            yield
        finally:
            server.stop()

    def _ready(self) -> tuple[bool, str]:
        age = self.metrics.poll_age(time.time())
        if self.draining.is_set():
            return False, "draining"
        if (waits := self.lead.standing_by()) is not None:
            return waits
        if age > self._config.ready_after:
            return False, f"the last good poll was {age:.0f} s ago"
        if deaf := self.targets.deafness():
            return False, deaf
        return True, "ok"

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Drain at the first signal, end at the second. Outside of the main thread there are no signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._signalled or self.draining.is_set():
            raise SystemExit(128 + number)
        self._signalled = True
        # Setting an event takes a lock that the main thread, which this handler interrupts, may hold.
        threading.Thread(target=self._begin_drain, name="signal", daemon=True).start()

    def _begin_drain(self) -> None:
        self.draining.set()
        self._wake.set()


def _copies(config: AgentConfig) -> Copies | None:
    """What keeps launches under way for an agent in another pod, where the config names a place."""
    chosen = config.state_secret
    if not chosen.name:
        return None

    def connect() -> KubeApi:
        found = access.in_pod(os.environ, chosen.credentials)
        return KubeApi(found, qps=50, burst=50, timeout=_KEEP_SECONDS, patience=_KEEP_SECONDS)

    return Copies(KubeKeep(chosen.name, connect))


def _lead(config: AgentConfig) -> Lead:
    election = config.leader_election
    if not election.lease:
        return ALONE
    terms = Terms(float(election.duration))
    namespace, _, name = election.lease.partition("/")
    lease = KubeLease(
        namespace, name, environment=os.environ, account=election.credentials, timeout=terms.timeout
    )
    me = holder_name(config.state_dir, socket.gethostname())
    return Leadership(Election(lease, me, terms), lost=_end_at_once)


def _end_at_once(why: str) -> None:
    """End the process, whatever its threads are doing."""
    threading.Timer(_LOST_SECONDS, os._exit, (_LOST_CODE,)).start()
    _log.error("the agent ends, its runs go on: %s", why)
    os._exit(_LOST_CODE)


def _pass_on(environment: Mapping[str, str]) -> PassOn:
    found = passon.from_environment(environment)
    for secret in found.secret_env.values():
        log.hide(secret)
    return found


def _likely(config: AgentConfig, environment: Mapping[str, str]) -> list[str]:
    """An agent in a pod, or one that is told of a cluster or of a cloud's service, may have left runs there:
    its state folder is gone with the pod, the runs are not."""
    options = config.runner.get(Resource.KUBERNETES, {})
    told = any(options.get(key) for key in ("context", "namespace", "target-namespaces"))
    found = [Resource.KUBERNETES.value] if told or environment.get("KUBERNETES_SERVICE_HOST") else []
    if config.policy.vertex != VertexLimits():  # whoever bounds such jobs has them
        found.append(Resource.VERTEX.value)
    return found


def runner_options(config: AgentConfig, environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The config's options. Runs of processes live in the state folder unless it says otherwise, and the
    clouds' own runners need to know whose credentials they use. An agent in a pod is told of its image, by
    which others of the cluster fetch code."""
    options = {resource: dict(each) for resource, each in config.runner.items()}
    processes = options.setdefault(Resource.LOCAL_PROCESS.value, {})
    processes.setdefault("work-dir", str(config.state_dir / "runs"))
    if image := environment.get(_IMAGE):
        options.setdefault(Resource.KUBERNETES.value, {}).setdefault("fetch-image", image)
    for resource in (Resource.SAGEMAKER, Resource.VERTEX):
        options.setdefault(resource.value, {})["environment"] = asdict(config.environment)
    options[Resource.VERTEX.value]["state"] = str(config.state_dir)
    return options
