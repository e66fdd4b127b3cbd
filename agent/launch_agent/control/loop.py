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
from dataclasses import replace
from functools import partial

from launch_agent import __version__
from launch_agent.config.model import AgentConfig, summary
from launch_agent.control.journal import Entry, Journal
from launch_agent.control.pipeline import Pipeline, Ticket
from launch_agent.control.pool import LaunchPool
from launch_agent.control.targets import Targets
from launch_agent.control.tracker import Tracker
from launch_agent.errors import LaunchError, QueueDenied, QueueError
from launch_agent.queues import AgentStatus, QueueClient, Registration
from launch_agent.runners import resume
from launch_agent.spec.model import Lease
from launch_agent.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
# How often a target that an earlier process used is looked for, and for how long no job is taken meanwhile:
# an engine that starts after the agent, as at a machine's start, must not be given more than max_jobs.
_VISIT_SECONDS = 5.0
_UNVISITED_SECONDS = 60.0
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
        fence: Callable[[], None] = lambda: None,
        freed: Callable[[], None] = lambda: None,
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
        self._fence = fence
        self._freed = freed
        self._clock = clock
        self._rotation = list(config.queues)
        self._unsettled: list[Ticket] = []
        # Sweep schedulers whose launch is under way, by item; touched by the launch threads too.
        self._schedulers: set[str] = set()
        self._unvisited: list[str] = []
        self._next_visit = 0.0
        self._hold_until = 0.0
        # When copies of launches are looked for again, until they could be read.
        self._next_look: float | None = None
        self._next_heartbeat = 0.0

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
        now = self._clock()
        self._unvisited = list(self._targets.used_before())
        self._hold_until = now + _UNVISITED_SECONDS
        self._visit(now)
        if not self._unvisited:
            self._journal.sweep(self._tracker.knows)
        self._take_up(self._journal.pending())
        self._look_elsewhere(now)

    def tick(self) -> float:
        """One round; returns the seconds until the next should come. Raises QueueError."""
        self._fence()
        now = self._clock()
        if now >= self._next_heartbeat:
            self._heartbeat(now)
        if self._unvisited and now >= self._next_visit:
            self._visit(now)
        if self._next_look is not None and now >= self._next_look:
            self._look_elsewhere(now)
        self._claim([])
        room = self._room()
        held = bool(self._unvisited) and now < self._hold_until
        if room <= 0 or held or self._draining.is_set():
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
        self._fence()
        tickets: list[Ticket] = []
        for lease in popped.leases:
            ticket = self._pipeline.admitted(lease)
            if ticket is not None and self._has_room_for(ticket, tickets):
                tickets.append(ticket)
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
            self._draining.set()

    def _visit(self, now: float) -> None:
        """Adopt the runs of an earlier process, again and again while a target cannot be reached: their ends
        are to be told even if no job comes that needs the target."""
        self._next_visit = now + _VISIT_SECONDS
        for resource in list(self._unvisited):
            try:
                self._targets.runner(resource)
            except LaunchError as error:
                if not error.retryable and self._targets.is_guess(resource):
                    # Not for this agent, as it seems; a job that needs it will be told the same.
                    _log.info("no runs are looked for on %s: %s", resource, error.message)
                    self._unvisited.remove(resource)
                    continue
                _log.warning("runs on %s cannot be looked for yet: %s", resource, error)
            else:
                self._unvisited.remove(resource)

    def _take_up(self, entries: Sequence[Entry]) -> None:
        """Go on with launches of an earlier process: ours perhaps, so they are launched even where
        max_schedulers run."""
        for entry in entries:
            item = entry.lease.item_id
            found = self._tracker.run_of(item)
            resumed = found is not None and resume(found)
            if not resumed and self._tracker.knows(item):
                self._journal.started(item)
                continue
            ticket = self._pipeline.admitted(entry.lease)
            if ticket is not None:
                _log.info("the launch of item %s is taken up again", item, extra={"item": item})
                self._unsettled.append(replace(ticket, resumed=resumed))

    def _look_elsewhere(self, now: float) -> None:
        """Take up what an earlier process left that had another state folder, sooner or later."""
        self._next_look = now + _VISIT_SECONDS
        try:
            entries = self._journal.left_elsewhere()
            states = self._queues.run_states([entry.identity for entry in entries]) if entries else {}
        except LaunchError as error:
            _log.warning("what an earlier agent was launching cannot be looked for yet: %s", error)
            return
        self._next_look = None
        # The copy of a launch is taken out some seconds after its run has begun: it may have ended since.
        over = [entry for entry in entries if states.get(entry.identity.item_id) == "finished"]
        for entry in over:
            self._journal.erase(entry.lease.item_id)
        self._take_up([entry for entry in entries if entry not in over])

    def _room(self) -> int:
        """How many leases may be taken now. What is counted exists: runs on their targets, launches."""
        in_flight = self._pool.in_flight + len(self._unsettled)
        room = min(self._pool.size * 2 - in_flight, _MOST_LEASES)
        if self._config.max_jobs >= 0:
            room = min(room, self._config.max_jobs - self._tracker.live() - in_flight)
        self._metrics.set_room(room, self._pool.in_flight)
        return room

    def _has_room_for(self, ticket: Ticket, before: Sequence[Ticket]) -> bool:
        """Whether one more sweep scheduler may run; other jobs were counted when they were popped. An item
        that is not acked goes back to its queue by itself."""
        limit = self._config.max_schedulers
        if not ticket.spec.scheduler or limit < 0:
            return True
        under_way = sum(other.spec.scheduler for other in (*self._unsettled, *before))
        if self._tracker.live("sweep-scheduler") + len(self._schedulers) + under_way < limit:
            return True
        _log.info("item %s, a sweep scheduler, goes back: max_schedulers are running", ticket.lease.item_id)
        return False

    def _claim(self, tickets: Sequence[Ticket]) -> None:
        """Ack the tickets, together with those whose ack got no answer before, and launch what is ours."""
        self._journal.record(*(Entry(lease=ticket.lease, identity=ticket.identity) for ticket in tickets))
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
            self._tracker.give_up(ticket.identity.item_id, self._clock())
        settled = [ticket for ticket in self._unsettled if ticket not in lost]
        self._unsettled = []
        for ticket in settled:
            if ticket.spec.scheduler:
                self._schedulers.add(ticket.identity.item_id)
            self._pool.submit(partial(self._launch, ticket))

    def _launch(self, ticket: Ticket) -> None:
        try:
            self._pipeline.launch(ticket)
        finally:
            self._schedulers.discard(ticket.identity.item_id)
            # There is room for another launch, even where no run has ended.
            self._freed()

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

    An error makes the rounds rarer (up to a minute, `Retry-After` honoured) and ends nothing. Every exception
    is caught here, as the pipeline does for one item: a bug met once must not leave runs unwatched for ever.
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
        except LaunchError as error:
            failures += 1
            pause = _pause(interval, failures)
            _log.warning("a round failed, next try in %.1f s: %s", pause, error)
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
