"""Ends of queue items on their way to the backend, kept until it has them.

A backend that is down delays a report and loses none: what ended stays where it ended (a container that is
not removed, a journal entry) until the report is delivered, so even a killed agent tells it when it is back.

The end of a preempted run is that its job goes back to its queue. Where that cannot be, the item fails.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from launch_agent.errors import LaunchError, QueueDenied, QueueError, QueueUnavailable
from launch_agent.queues import QueueClient
from launch_agent.spec.model import Failure, Outcome, RunIdentity, RunState
from launch_agent.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_PREEMPTED_TOO_OFTEN = (
    "the job was put back into its queue several times and preempted each time: give it a higher priority "
    "class, or nodes that are not taken away"
)


@dataclass(slots=True, kw_only=True)
class _Report:
    identity: RunIdentity
    outcome: Outcome
    delivered: Callable[[], None]
    due: float
    otherwise: Failure | None = None
    pause: float = _FIRST_PAUSE

    @property
    def is_plain(self) -> bool:
        """Whether the end can be told together with others: it has no log and puts nothing back."""
        failure = self.outcome.failure
        return self.otherwise is None and not (failure is not None and failure.log)


class Reports:
    """Delivers outcomes, each retried until the backend takes or refuses it. `put_back`
    gives the job of a preempted run back to its queue, as `control.preemption` does."""

    def __init__(
        self,
        queues: QueueClient,
        metrics: Metrics,
        put_back: Callable[[RunIdentity], str | None] = lambda identity: None,
    ) -> None:
        self._queues = queues
        self._metrics = metrics
        self._put_back = put_back
        self._waiting: dict[str, _Report] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self,
        identity: RunIdentity,
        outcome: Outcome,
        delivered: Callable[[], None],
        now: float,
        *,
        otherwise: Failure | None = None,
    ) -> None:
        """Have an outcome delivered; then `delivered` is called, which raises LaunchError at the most.
        `otherwise` is how a preempted run's item fails where its job does not go back to its queue."""
        if otherwise is None:
            self._count(identity, outcome)
        with self._changed:
            self._waiting[identity.item_id] = _Report(
                identity=identity, outcome=outcome, delivered=delivered, due=now, otherwise=otherwise
            )
            self._changed.notify_all()

    def tick(self, now: float) -> float:
        """Try every report that is due; returns 0, since `wait_for_news` is what paces the rounds."""
        with self._changed:
            due = [report for report in self._waiting.values() if report.due <= now]
        plain = [report for report in due if report.is_plain]
        errors = self._queues.finish_all([(report.identity, report.outcome) for report in plain])
        for report, error in zip(plain, errors, strict=True):
            self._settle(report, error, now)
        for report in due:
            if not report.is_plain:
                self._settle(report, self._tell(report), now)
        return 0.0

    def wait_for_news(self, timeout: float) -> None:
        """Return when a report was added or delivered, at the latest after `timeout` seconds."""
        with self._changed:
            self._changed.wait(timeout)

    def wait_empty(self, timeout: float) -> bool:
        """Wait until everything is delivered, for at most `timeout` seconds; says whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    def _settle(self, report: _Report, error: QueueError | None, now: float) -> None:
        """Be done with a report, or try it again later."""
        item = report.identity.item_id
        if error is not None:
            self._metrics.backend_error("finish", error)
        if isinstance(error, (QueueUnavailable, QueueDenied)):
            # A key that is not accepted may be renewed: the end of an item is not lost for that.
            asked = getattr(error, "retry_after", 0.0)
            report.due = now + max(asked, random.uniform(report.pause / 2, report.pause))
            report.pause = min(report.pause * 2, _LONGEST_PAUSE)
            _log.warning("the end of item %s cannot be reported yet: %s", item, error.message)
            return
        if error is not None:
            _log.error(
                "the backend refuses the report that item %s %s: %s", item, report.outcome.state, error
            )
        if report.otherwise is not None:
            self._count(report.identity, report.outcome)
        try:
            report.delivered()
        except LaunchError as failed:
            _log.warning("item %s is reported, but not all of it is cleared away: %s", item, failed.message)
        with self._changed:
            # Another report of the item may have come meanwhile, and is still to be delivered.
            if self._waiting.get(item) is report:
                del self._waiting[item]
            self._changed.notify_all()

    def _count(self, identity: RunIdentity, outcome: Outcome) -> None:
        reason = outcome.failure.reason if outcome.failure else ""
        self._metrics.job_ended(identity.queue, outcome.state, reason)

    def _tell(self, report: _Report) -> QueueError | None:
        """Tell the backend; the error that this gives. A report whose job cannot be put back becomes that of
        a failure, for good."""
        try:
            if report.otherwise is not None and report.outcome.state is RunState.PREEMPTED:
                failure = self._put_back_or(report.identity, report.otherwise)
                if failure is None:
                    return None
                report.outcome = Outcome(state=RunState.FAILED, failure=failure)
            self._queues.finish(report.identity, report.outcome)
        except QueueError as error:
            return error
        return None

    def _put_back_or(self, identity: RunIdentity, otherwise: Failure) -> Failure | None:
        """Why the job cannot go back to its queue; None where it has. Raises QueueUnavailable."""
        try:
            successor = self._put_back(identity)
        except QueueUnavailable:
            raise
        except QueueError as error:
            hint = f"it was not put back into its queue: {error.message}"
            return replace(otherwise, hint=f"{hint} ({error.hint})" if error.hint else hint)
        if successor is None:
            return replace(otherwise, hint=_PREEMPTED_TOO_OFTEN)
        item = identity.item_id
        _log.info("item %s was preempted, and goes on as %s", item, successor, extra={"item": item})
        return None
