"""Follows live runs to their end: polls, stops, times out, warns, reports.

A run holds no thread: one call of `tick` looks at all of them. An error while asking for a run's status says
nothing of the run, so it is retried for as long as it takes; only a status that says so ends a run. A slot is
free the moment its run has ended, whatever is still to be reported.

Thousands of runs are looked at twice a second, so a look at one that has not changed must cost next to
nothing: a runner answers with the same status object then, and the counts by state are kept, not made anew.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

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
_ROUND_SECONDS = 0.5
# One request asks for the stops of all runs, and the backend's work for it grows with them: from a thousand
# runs on it is sent less often, and a stop is heard of in ten seconds at the latest.
_STOP_CHECK_SECONDS = 2.0
_RUNS_PER_STOP_CHECK = 1000
_LONGEST_STOP_CHECK = 10.0
# For how long an end waits for a log that cannot be read at the moment. It is the only chance: what ended is
# removed afterwards, by us or by its own time to live.
_LOG_PATIENCE = 15.0
# Distinct warnings forwarded for one run; a run that flaps must not flood its queue item.
_MOST_WARNINGS = 20


@dataclass(slots=True, kw_only=True)
class _Tracked:
    """`waited` is how long the run could have started and did not; `log` the end of its output, once read."""

    run: Run
    since: float
    looked: float
    waiting: bool = True
    state: RunState = RunState.PENDING
    status: RunStatus | None = None
    waited: float = 0.0
    held: bool = False
    ended: float | None = None
    log: str | None = None
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
        forget: Callable[[str], None] = lambda item: None,
    ) -> None:
        self._queues = queues
        self._reports = reports
        self._metrics = metrics
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._log_tail = log_tail
        self._freed = freed
        self._forget = forget
        self._counts: Counter[tuple[str, RunState]] = Counter()
        self._live: dict[str, _Tracked] = {}
        self._settling: dict[str, _Tracked] = {}
        self._lock = threading.Lock()
        self._next_stop_check = 0.0
        # What is left of a round. A round that a bug cuts short goes on here, behind the run that met it.
        self._todo: deque[_Tracked] = deque()

    def add(self, run: Run, now: float) -> None:
        """Follow a run; one that is followed already is left as it is."""
        with self._lock:
            if run.identity.item_id in self._live:
                return
            tracked = _Tracked(run=run, since=now, looked=now)
            self._live[run.identity.item_id] = tracked
            self._counts[tracked.identity.queue, tracked.state] += 1

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

    def run_of(self, item_id: str) -> Run | None:
        """The item's run, unless it has ended."""
        tracked = self._live.get(item_id)
        return tracked.run if tracked is not None else None

    def give_up(self, item_id: str, now: float) -> None:
        """End the run of an item, if there is one, whose launch has failed half way."""
        tracked = self._live.get(item_id)
        if tracked is not None and tracked.stop_asked is None:
            tracked.stop_asked = now

    def tick(self, now: float) -> float:
        """Look at every run once; returns the seconds until the next round."""
        if now >= self._next_stop_check:
            often = _STOP_CHECK_SECONDS * max(1.0, len(self._live) / _RUNS_PER_STOP_CHECK)
            self._next_stop_check = now + min(often, _LONGEST_STOP_CHECK)
            self._check_stops(now)
            self._check_settling(now)
        if not self._todo:
            self._todo.extend(self._snapshot())
        while self._todo:
            self._look(self._todo.popleft(), now)
        with self._lock:
            counts = dict(self._counts)
        self._metrics.set_live(counts)
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
        if status is tracked.status and tracked.state.has_started and tracked.stop_asked is None:
            return
        self._moved_on(tracked, status.state)
        if status.state.is_terminal:
            self._end(tracked, status, now)
            return
        tracked.status = status if self._warn(tracked, status) else None
        self._time_out(tracked, status, now)
        if tracked.stop_asked is not None and not tracked.cancelled and now >= tracked.stop_asked:
            self._cancel(tracked)

    def _moved_on(self, tracked: _Tracked, state: RunState) -> None:
        if state is tracked.state:
            return
        _log.info("run %s is %s", tracked.run.id, state, extra={"item": tracked.identity.item_id})
        with self._lock:
            self._counts[tracked.identity.queue, tracked.state] -= 1
            self._counts[tracked.identity.queue, state] += 1
        tracked.state = state

    def _warn(self, tracked: _Tracked, status: RunStatus) -> bool:
        """Show what is the matter with a run beside its item, each thing once; False where that is still to
        be done."""
        message = status.message or ("waiting for quota" if status.held else "")
        # Why a quota is used up changes all the time; that the run waits for it is told once.
        again = status.held and tracked.held
        if not message or again or message in tracked.warned or len(tracked.warned) >= _MOST_WARNINGS:
            tracked.held = status.held
            return True
        text = f"{status.reason}: {message}" if status.reason else message
        notice = Notice(stage=Stage.RUN, message=f"{text} ({status.hint})" if status.hint else text)
        try:
            self._queues.warn(tracked.identity, notice)
        except QueueError as error:
            self._metrics.backend_error("warn", error)
            return False
        tracked.warned.add(message)
        tracked.held = status.held
        return True

    def _time_out(self, tracked: _Tracked, status: RunStatus, now: float) -> None:
        """Cancel a run that does not start. Time in which a queueing controller holds it does not count."""
        waiting = not (tracked.state.has_started or status.held)
        if waiting and tracked.waiting:
            tracked.waited += now - tracked.looked
        tracked.looked, tracked.waiting = now, waiting
        if self._start_timeout and waiting and not tracked.cancelled and tracked.waited > self._start_timeout:
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
        tracked.ended = now if tracked.ended is None else tracked.ended
        silent_end = status.state is RunState.FINISHED and not self._queues.reports_outcomes()
        # Before the run is forgotten: an error in here must not lose the end with it.
        if self._needs_log(tracked, status) and not self._read_log(tracked, now):
            return
        outcome = self._outcome(tracked, status)
        with self._lock:
            if self._live.pop(identity.item_id, None) is not None:
                self._counts[identity.queue, tracked.state] -= 1
            if silent_end:
                tracked.since = now
                self._settling[identity.item_id] = tracked
        self._freed()
        if not silent_end:
            otherwise = None
            if outcome.state is RunState.PREEMPTED:
                otherwise = self._failure(tracked, replace(status, reason="Preempted"))
            self._report(tracked, outcome, now, otherwise)

    def _needs_log(self, tracked: _Tracked, status: RunStatus) -> bool:
        failed = status.state in (RunState.FAILED, RunState.PREEMPTED)
        return tracked.timed_out or (failed and tracked.stop_asked is None)

    def _outcome(self, tracked: _Tracked, status: RunStatus) -> Outcome:
        if tracked.timed_out:
            failure = Failure(
                stage=Stage.RUN,
                reason="StartTimeout",
                message=f"the run did not start within {self._start_timeout:g} s",
                hint=status.hint or status.message or "'start-timeout' in the agent's config sets the time",
                log=tracked.log or "",
            )
            return Outcome(state=RunState.FAILED, failure=failure)
        if tracked.stop_asked is not None and status.state in (RunState.FAILED, RunState.PREEMPTED):
            # A job that ends itself because it was asked to ends with any exit code; and one that its user
            # stops is not put back where something else took its place at the same moment.
            return Outcome(state=RunState.STOPPED)
        if status.state is RunState.FAILED:
            return Outcome(state=RunState.FAILED, failure=self._failure(tracked, status))
        return Outcome(state=status.state)

    def _failure(self, tracked: _Tracked, status: RunStatus) -> Failure:
        return Failure(
            stage=Stage.RUN,
            reason=status.reason or "Failed",
            message=status.message
            or f"the run {'was preempted' if status.reason == 'Preempted' else 'failed'}",
            hint=status.hint,
            log=tracked.log or "",
        )

    def _read_log(self, tracked: _Tracked, now: float) -> bool:
        """Read the end of the log; False while that is worth another try, with the next round."""
        if tracked.log is not None:
            return True
        try:
            tracked.log = tracked.run.logs(self._log_tail)
        except LaunchError as error:
            assert tracked.ended is not None
            if error.retryable and now - tracked.ended < _LOG_PATIENCE:
                return False
            tracked.log = f"(the log cannot be read: {error.message})"
        return True

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
            elif not self._read_log(tracked, now):
                continue  # now, since the object may not last until the time is over
            elif now - tracked.since > SETTLE_SECONDS:
                failure = Failure(
                    stage=Stage.RUN,
                    reason="NoRun",
                    message="the job ended with exit code 0, but no run of it has reported itself",
                    hint="a job calls wandb.init(), which reads WANDB_RUN_ID from its environment",
                    log=tracked.log or "",
                )
                self._settled(tracked, Outcome(state=RunState.FAILED, failure=failure), now)

    def _settled(self, tracked: _Tracked, outcome: Outcome, now: float) -> None:
        with self._lock:
            self._settling.pop(tracked.identity.item_id, None)
        self._report(tracked, outcome, now)

    def _report(
        self, tracked: _Tracked, outcome: Outcome, now: float, otherwise: Failure | None = None
    ) -> None:
        run, item = tracked.run, tracked.identity.item_id

        def delivered() -> None:
            run.release()
            self._forget(item)

        self._reports.add(tracked.identity, outcome, delivered, now, otherwise=otherwise)
