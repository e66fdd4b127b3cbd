"""The agent: polls its queues, admits what there is room for, hands it to the launch pool.

One thread runs `tick` again and again; nothing in a tick sleeps, it returns how long to wait. A backend that
is down makes ticks rarer and readiness false, and touches no run.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from launch_agent import __version__
from launch_agent.config.model import AgentConfig, summary
from launch_agent.control.journal import Entry, Journal
from launch_agent.control.pipeline import Pipeline, Ticket, failure_of
from launch_agent.control.pool import LaunchPool
from launch_agent.control.targets import Targets
from launch_agent.control.tracker import Tracker
from launch_agent.errors import LaunchError, QueueDenied, QueueError
from launch_agent.queues import AgentStatus, QueueClient, Registration
from launch_agent.spec.model import Lease, Stage
from launch_agent.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
_LONGEST_PAUSE = 60.0
# Leases popped at once: what one request can carry, and few enough to be acked long before they run out.
_MOST_LEASES = 25


class Agent:
    """One agent on its queues. Make it by `control.wiring`."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        queues: QueueClient,
        pipeline: Pipeline,
        tracker: Tracker,
        targets: Targets,
        journal: Journal,
        pool: LaunchPool,
        metrics: Metrics,
        draining: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._queues = queues
        self._pipeline = pipeline
        self._tracker = tracker
        self._targets = targets
        self._journal = journal
        self._pool = pool
        self._metrics = metrics
        self._draining = draining
        self._clock = clock
        self._rotation = list(config.queues)
        self._unsettled: list[Ticket] = []
        self._next_heartbeat = 0.0
        self.stopped_by_user = False

    def register(self) -> None:
        """Introduce the agent to the backend. Raises QueueError."""
        registered = self._queues.register(
            Registration(
                entity=self._config.entity,
                queues=self._config.queues,
                name=self._config.name,
                version=f"launch-agent@{__version__}",
                config=summary(self._config),
            )
        )
        self._metrics.polled(time.time())
        _log.info(
            "agent %s polls %s of %s", self._config.name, ", ".join(self._config.queues), registered.entity
        )

    def recover(self) -> None:
        """Take up what an earlier process of this agent left: its runs, then its launches."""
        for resource in self._targets.used_before():
            try:
                self._targets.runner(resource)
            except LaunchError as error:
                # Adopted when the first job of this resource comes; the runs go on meanwhile.
                _log.warning("runs on %s cannot be looked for yet: %s", resource, error)
        for entry in self._journal.pending():
            item = entry.lease.item_id
            if self._tracker.knows(item):
                self._journal.erase(item)
                continue
            ticket = self._admitted(entry.lease)
            if ticket is not None:
                _log.info("the launch of item %s is taken up again", item, extra={"item": item})
                self._unsettled.append(ticket)

    def tick(self) -> float:
        """One round; returns the seconds until the next should come. Raises QueueError."""
        now = self._clock()
        if now >= self._next_heartbeat:
            self._heartbeat(now)
        self._claim([])
        room = self._room()
        if room <= 0 or self._draining.is_set():
            return self._config.poll_interval
        popped = self._queues.pop(self._rotation, room, wait=self._config.poll_wait)
        self._metrics.poll_took(self._clock() - now)
        for queue, reason in popped.errors.items():
            _log.warning("queue %s could not be read: %s", queue, reason)
        if len(popped.errors) < len(self._rotation):
            self._metrics.polled(time.time())
        self._rotate(popped.leases)
        if self._draining.is_set():
            return 0.0  # leases that arrive after the drain began are not claimed: they go back by themselves
        tickets = [ticket for lease in popped.leases if (ticket := self._admitted(lease)) is not None]
        self._claim(tickets)
        if popped.leases or popped.held:
            return 0.0
        return self._config.poll_interval * random.uniform(0.9, 1.1)

    def report_end(self) -> None:
        """Tell the backend that this agent polls no more."""
        try:
            self._queues.heartbeat(AgentStatus.KILLED)
        except QueueError as error:
            _log.warning("the backend could not be told that the agent ends: %s", error.message)

    def _heartbeat(self, now: float) -> None:
        busy = self._tracker.live() or self._pool.in_flight
        directive = self._queues.heartbeat(AgentStatus.RUNNING if busy else AgentStatus.POLLING)
        self._next_heartbeat = now + HEARTBEAT_SECONDS
        if directive.stop:
            _log.info("the agent was stopped by a user; its runs go on")
            self.stopped_by_user = True
            self._draining.set()

    def _room(self) -> int:
        """How many leases may be taken now. What is counted exists: runs on their targets, launches."""
        in_flight = self._pool.in_flight + len(self._unsettled)
        room = min(self._pool.size * 2 - in_flight, _MOST_LEASES)
        if self._config.max_jobs >= 0:
            room = min(room, self._config.max_jobs - self._tracker.live() - in_flight)
        self._metrics.set_room(room, self._pool.in_flight)
        return room

    def _admitted(self, lease: Lease) -> Ticket | None:
        """The lease's ticket; None where it was refused (and that is reported) or has to wait."""
        try:
            ticket = self._pipeline.admit(lease)
        except LaunchError as error:
            self._pipeline.fail(self._pipeline.identify(lease), failure_of(error, Stage.AGENT))
            return None
        if ticket.spec.scheduler and self._tracker.live("sweep-scheduler") >= self._config.max_schedulers:
            _log.info("item %s, a sweep scheduler, goes back: max_schedulers are running", lease.item_id)
            return None
        return ticket

    def _claim(self, tickets: Sequence[Ticket]) -> None:
        """Ack the tickets, together with those whose ack got no answer before, and launch what is ours."""
        for ticket in tickets:
            self._journal.record(Entry(lease=ticket.lease, identity=ticket.identity))
        self._unsettled.extend(tickets)
        if not self._unsettled:
            return
        ours = self._queues.ack([ticket.identity for ticket in self._unsettled])
        lost = [
            ticket
            for ticket in self._unsettled
            if ticket.identity.item_id not in ours and not self._queues.is_claimed(ticket.identity)
        ]
        for ticket in lost:
            _log.warning("the lease of item %s is lost; another agent will have it", ticket.identity.item_id)
            self._journal.erase(ticket.identity.item_id)
        settled = [ticket for ticket in self._unsettled if ticket not in lost]
        self._unsettled = []
        for ticket in settled:
            self._pool.submit(partial(self._pipeline.launch, ticket))

    def _rotate(self, leases: Sequence[Lease]) -> None:
        """Queues that gave something move to the end, so that a full queue does not starve the others."""
        served = {lease.queue for lease in leases}
        self._rotation.sort(key=lambda queue: queue in served)


def repeat(
    tick: Callable[[], float],
    *,
    until: threading.Event,
    wake: threading.Event,
    metrics: Metrics,
    interval: float,
) -> None:
    """Call `tick` again and again, with the pauses that it returns, until `until` is set.

    An error makes the rounds rarer (up to a minute, `Retry-After` honoured) and ends nothing: this is one of
    the two places that catch every exception, so that a bug met once does not leave runs unwatched for ever.
    """
    failures = 0
    while not until.is_set():
        pause = 0.0
        try:
            pause = tick()
            failures = 0
        except QueueError as error:
            if until.is_set():
                return  # a long poll that was cut off by the drain
            failures += 1
            pause = max(_pause(interval, failures), getattr(error, "retry_after", 0.0))
            metrics.backend_error("poll", error)
            problem = "does not accept the API key" if isinstance(error, QueueDenied) else "cannot be used"
            _log.warning("the backend %s, next try in %.1f s: %s", problem, pause, error)
        except Exception:
            failures += 1
            pause = _pause(interval, failures)
            _log.exception("a round met a bug in the agent; the next comes in %.1f s", pause)
        if pause:
            wake.wait(pause)
        wake.clear()


def _pause(interval: float, failures: int) -> float:
    longest = min(_LONGEST_PAUSE, interval * 2.0 ** min(failures, 8))
    return longest * random.uniform(0.5, 1.0)
