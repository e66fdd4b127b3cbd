"""Ends of queue items on their way to the backend, kept until it has them.

A backend that is down delays a report and loses none: what ended stays where it ended (a container that is
not removed, a journal entry) until the report is delivered, so even a killed agent tells it when it is back.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from launch_agent.errors import LaunchError, QueueDenied, QueueError, QueueUnavailable
from launch_agent.queues import QueueClient
from launch_agent.spec.model import Outcome, RunIdentity
from launch_agent.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0


@dataclass(slots=True, kw_only=True)
class _Report:
    identity: RunIdentity
    outcome: Outcome
    delivered: Callable[[], None]
    due: float
    pause: float = _FIRST_PAUSE


class Reports:
    """Delivers outcomes one after the other, each retried until the backend takes or refuses it."""

    def __init__(self, queues: QueueClient, metrics: Metrics) -> None:
        self._queues = queues
        self._metrics = metrics
        self._waiting: dict[str, _Report] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, identity: RunIdentity, outcome: Outcome, delivered: Callable[[], None], now: float) -> None:
        """Have an outcome delivered; then `delivered` is called, which must not raise."""
        with self._changed:
            self._waiting[identity.item_id] = _Report(
                identity=identity, outcome=outcome, delivered=delivered, due=now
            )
            self._changed.notify_all()

    def tick(self, now: float) -> float:
        """Try every report that is due; returns 0, since `wait_for_news` is what paces the rounds."""
        with self._changed:
            due = [report for report in self._waiting.values() if report.due <= now]
        for report in due:
            if self._deliver(report, now):
                with self._changed:
                    # Another report of the item may have come meanwhile, and is still to be delivered.
                    if self._waiting.get(report.identity.item_id) is report:
                        del self._waiting[report.identity.item_id]
                    self._changed.notify_all()
        return 0.0

    def wait_for_news(self, timeout: float) -> None:
        """Return when a report was added or delivered, at the latest after `timeout` seconds."""
        with self._changed:
            self._changed.wait(timeout)

    def wait_empty(self, timeout: float) -> bool:
        """Wait until everything is delivered, for at most `timeout` seconds; says whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    def _deliver(self, report: _Report, now: float) -> bool:
        item = report.identity.item_id
        try:
            self._queues.finish(report.identity, report.outcome)
        except (QueueUnavailable, QueueDenied) as error:
            # A key that is not accepted may be renewed: the end of an item is not lost for that.
            asked = getattr(error, "retry_after", 0.0)
            report.due = now + max(asked, random.uniform(report.pause / 2, report.pause))
            report.pause = min(report.pause * 2, _LONGEST_PAUSE)
            self._metrics.backend_error("finish", error)
            _log.warning("the end of item %s cannot be reported yet: %s", item, error.message)
            return False
        except QueueError as error:
            self._metrics.backend_error("finish", error)
            _log.error(
                "the backend refuses the report that item %s %s: %s", item, report.outcome.state, error
            )
        try:
            report.delivered()
        except LaunchError as error:
            _log.warning("item %s is reported, but not all of it is cleared away: %s", item, error.message)
        return True
