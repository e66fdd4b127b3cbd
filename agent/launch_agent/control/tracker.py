"""Follows live runs to their end: polls, stops, times out, warns, reports.

A run holds no thread: one call of `tick` looks at all of them. An error while asking for a run's status says
nothing of the run, so it is retried for as long as it takes; only a status that says so ends a run. A slot is
free the moment its run has ended, whatever is still to be reported.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from launch_agent.control.reports import Reports
from launch_agent.errors import LaunchError, QueueError
from launch_agent.queues import QueueClient
from launch_agent.runners import Run, Runner
from launch_agent.spec.model import Failure, Notice, Outcome, RunIdentity, RunState, RunStatus, Stage
from launch_agent.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

# How long a run that ended well may take to show up at a backend that is not told of good ends
# (`wandb.init` writes asynchronously); after that the item is failed, since nothing else would end it.
SETTLE_SECONDS = 60.0
_STOP_CHECK_SECONDS = 2.0
_ROUND_SECONDS = 0.5
# Distinct warnings forwarded for one run; a run that flaps must not flood its queue item.
_MOST_WARNINGS = 20


@dataclass(slots=True, kw_only=True)
class _Tracked:
    run: Run
    since: float
    state: RunState = RunState.PENDING
    stop_asked: float | None = None
    cancelled: bool = False
    timed_out: bool = False
    unreachable: bool = False
    warned: set[str] = field(default_factory=set)

    @property
    def identity(self) -> RunIdentity:
        return self.run.identity


class Tracker:
    """The live runs of this agent. `start_timeout` 0 is no timeout; all durations are seconds."""

    def __init__(
        self,
        queues: QueueClient,
        reports: Reports,
        metrics: Metrics,
        *,
        start_timeout: float,
        stop_timeout: float,
        log_tail: int,
        freed: Callable[[], None] = lambda: None,
    ) -> None:
        self._queues = queues
        self._reports = reports
        self._metrics = metrics
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._log_tail = log_tail
        self._freed = freed
        self._live: dict[str, _Tracked] = {}
        self._settling: dict[str, _Tracked] = {}
        self._lock = threading.Lock()
        self._next_stop_check = 0.0
        # What is left of a round. A round that a bug cuts short goes on here, behind the run that met it.
        self._todo: deque[_Tracked] = deque()

    def add(self, run: Run, now: float) -> None:
        """Follow a run; one that is followed already is left as it is."""
        with self._lock:
            self._live.setdefault(run.identity.item_id, _Tracked(run=run, since=now))
        self._count()

    def adopt(self, runner: Runner, agent: str, now: float) -> None:
        """Follow the runs that an earlier process of this agent started. Raises RunnerError."""
        for run in runner.adopt(agent):
            if not self.knows(run.identity.item_id):
                _log.info("run %s is adopted", run.id, extra={"item": run.identity.item_id})
                self.add(run, now)

    def live(self, kind: str = "job") -> int:
        """How many runs of a kind have not ended."""
        with self._lock:
            return sum(tracked.identity.kind == kind for tracked in self._live.values())

    def knows(self, item_id: str) -> bool:
        return item_id in self._live or item_id in self._settling

    def tick(self, now: float) -> float:
        """Look at every run once; returns the seconds until the next round."""
        if now >= self._next_stop_check:
            self._next_stop_check = now + _STOP_CHECK_SECONDS
            self._check_stops(now)
            self._check_settling(now)
        if not self._todo:
            self._todo.extend(self._snapshot())
        while self._todo:
            self._look(self._todo.popleft(), now)
        self._count()
        return _ROUND_SECONDS

    def _snapshot(self) -> Sequence[_Tracked]:
        with self._lock:
            return list(self._live.values())

    def _look(self, tracked: _Tracked, now: float) -> None:
        try:
            status = tracked.run.status()
        except LaunchError as error:
            if not tracked.unreachable:
                _log.warning("run %s cannot be asked for its status: %s", tracked.run.id, error)
            tracked.unreachable = True
            return
        tracked.unreachable = False
        if status.state is not tracked.state:
            _log.info("run %s is %s", tracked.run.id, status.state, extra={"item": tracked.identity.item_id})
            tracked.state = status.state
        if status.state.is_terminal:
            self._end(tracked, status, now)
            return
        self._warn(tracked, status)
        self._time_out(tracked, now)
        if tracked.stop_asked is not None and not tracked.cancelled and now >= tracked.stop_asked:
            self._cancel(tracked)

    def _warn(self, tracked: _Tracked, status: RunStatus) -> None:
        if not status.message or status.message in tracked.warned or len(tracked.warned) >= _MOST_WARNINGS:
            return
        text = f"{status.reason}: {status.message}" if status.reason else status.message
        notice = Notice(stage=Stage.RUN, message=f"{text} ({status.hint})" if status.hint else text)
        try:
            self._queues.warn(tracked.identity, notice)
        except QueueError as error:
            self._metrics.backend_error("warn", error)
            return
        tracked.warned.add(status.message)

    def _time_out(self, tracked: _Tracked, now: float) -> None:
        if (
            self._start_timeout
            and not tracked.cancelled
            and not tracked.state.has_started
            and now - tracked.since > self._start_timeout
        ):
            _log.warning("run %s has not started in %g s", tracked.run.id, self._start_timeout)
            self._cancel(tracked)
            # A run that cannot be cancelled yet may still start, and then it is in time enough.
            tracked.timed_out = tracked.cancelled

    def _cancel(self, tracked: _Tracked) -> None:
        try:
            tracked.run.cancel()
        except LaunchError as error:
            _log.warning("run %s cannot be cancelled yet: %s", tracked.run.id, error)
            return
        tracked.cancelled = True

    def _check_stops(self, now: float) -> None:
        """Ask the backend once for all runs. A run that has reported itself hears of the stop from the
        backend and gets `stop_timeout` seconds to end by itself; one that has not is cancelled at once."""
        waiting = [tracked for tracked in self._snapshot() if tracked.stop_asked is None]
        if not waiting:
            return
        try:
            asked = self._queues.stop_requested([tracked.identity for tracked in waiting])
            stopping = [tracked for tracked in waiting if tracked.identity.item_id in asked]
            states = self._queues.run_states([tracked.identity for tracked in stopping]) if stopping else {}
        except QueueError as error:
            self._metrics.backend_error("stop_requested", error)
            return
        for tracked in stopping:
            hears = states.get(tracked.identity.item_id) == "running"
            tracked.stop_asked = now + self._stop_timeout if hears else now
            _log.info("run %s is asked to stop", tracked.run.id, extra={"item": tracked.identity.item_id})

    def _end(self, tracked: _Tracked, status: RunStatus, now: float) -> None:
        identity = tracked.identity
        silent_end = status.state is RunState.FINISHED and not self._queues.reports_outcomes()
        # Before the run is forgotten: an error in here must not lose the end with it.
        outcome = self._outcome(tracked, status)
        with self._lock:
            self._live.pop(identity.item_id, None)
            if silent_end:
                tracked.since = now
                self._settling[identity.item_id] = tracked
        self._freed()
        if not silent_end:
            self._report(tracked, outcome, now)

    def _outcome(self, tracked: _Tracked, status: RunStatus) -> Outcome:
        if tracked.timed_out:
            failure = Failure(
                stage=Stage.RUN,
                reason="StartTimeout",
                message=f"the run did not start within {self._start_timeout:g} s",
                hint=status.hint or status.message or "'start-timeout' in the agent's config sets the time",
                log=self._logs(tracked),
            )
            return Outcome(state=RunState.FAILED, failure=failure)
        if status.state is not RunState.FAILED:
            return Outcome(state=status.state)
        if tracked.stop_asked is not None:
            # A job that ends itself because it was asked to ends with any exit code.
            return Outcome(state=RunState.STOPPED)
        failure = Failure(
            stage=Stage.RUN,
            reason=status.reason or "Failed",
            message=status.message or "the run failed",
            hint=status.hint,
            log=self._logs(tracked),
        )
        return Outcome(state=RunState.FAILED, failure=failure)

    def _logs(self, tracked: _Tracked) -> str:
        try:
            return tracked.run.logs(self._log_tail)
        except LaunchError as error:
            return f"(the log cannot be read: {error.message})"

    def _check_settling(self, now: float) -> None:
        with self._lock:
            settling = list(self._settling.values())
        if not settling:
            return
        try:
            states = self._queues.run_states([tracked.identity for tracked in settling])
        except QueueError as error:
            self._metrics.backend_error("run_states", error)
            return
        for tracked in settling:
            seen = states.get(tracked.identity.item_id) not in (None, "pending")
            if seen:
                self._settled(tracked, Outcome(state=RunState.FINISHED), now)
            elif now - tracked.since > SETTLE_SECONDS:
                failure = Failure(
                    stage=Stage.RUN,
                    reason="NoRun",
                    message="the job ended with exit code 0, but no run of it has reported itself",
                    hint="a job calls wandb.init(), which reads WANDB_RUN_ID from its environment",
                    log=self._logs(tracked),
                )
                self._settled(tracked, Outcome(state=RunState.FAILED, failure=failure), now)

    def _settled(self, tracked: _Tracked, outcome: Outcome, now: float) -> None:
        with self._lock:
            self._settling.pop(tracked.identity.item_id, None)
        self._report(tracked, outcome, now)

    def _report(self, tracked: _Tracked, outcome: Outcome, now: float) -> None:
        reason = outcome.failure.reason if outcome.failure else ""
        self._metrics.job_ended(tracked.identity.queue, outcome.state, reason)
        self._reports.add(tracked.identity, outcome, tracked.run.release, now)

    def _count(self) -> None:
        self._metrics.set_live(_count_states(self._snapshot()))


def _count_states(runs: Iterable[_Tracked]) -> dict[tuple[str, RunState], int]:
    counts: dict[tuple[str, RunState], int] = {}
    for tracked in runs:
        key = (tracked.identity.queue, tracked.state)
        counts[key] = counts.get(key, 0) + 1
    return counts
