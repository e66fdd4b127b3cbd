"""What all training jobs of this agent are doing: a few requests a minute, however many run.

ListTrainingJobs tells of the jobs that changed since a time, so a round costs one request for each hundred
changes and not one for each job. Times are the service's own: the latest that was seen, less a margin, is
where the next round begins. A full look at what is in progress every ten minutes finds what a round missed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from launch_agent.errors import RunnerError
from launch_agent.runners.sagemaker.service import Service

ROUND_SECONDS = 10.0
_FULL_SECONDS = 600.0
# Changes reach the listing late, and not in their order.
_MARGIN = timedelta(seconds=120)
_PAGE = 100


class Listing:
    """The jobs whose names hold `key`, by name, at most `fresh` seconds old."""

    def __init__(
        self,
        service: Service,
        key: str,
        *,
        fresh: float = ROUND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._key = key
        self._fresh = fresh
        self._clock = clock
        self._lock = threading.Lock()
        self._begun = float("-inf")
        self._full = float("-inf")
        self._latest: datetime | None = None
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._watched: set[str] = set()
        self._error: RunnerError | None = None

    def watch(self, name: str) -> None:
        """Keep the row of this job. Others are forgotten, or an account's history would be memory here."""
        with self._lock:
            self._watched.add(name)

    def forget(self, name: str) -> None:
        with self._lock:
            self._watched.discard(name)
            self._rows.pop(name, None)

    def read(self, name: str) -> Mapping[str, Any] | None:
        """A job's row; None where none has been listed. Raises RunnerError while the service cannot be asked,
        which holds for a round too, so that a thousand runs do not wait for a thousand timeouts."""
        with self._lock:
            now = self._clock()
            if now - self._begun >= self._fresh:
                self._begun = now
                try:
                    self._round(now)
                    self._error = None
                except RunnerError as error:
                    self._error = error
            if self._error is not None:
                raise RunnerError(self._error.message, hint=self._error.hint, retryable=True) from self._error
            return self._rows.get(name)

    def _round(self, now: float) -> None:
        filters: dict[str, Any] = {}
        full = self._latest is None or now - self._full >= _FULL_SECONDS
        if full:
            filters["StatusEquals"] = "InProgress"
        elif self._latest is not None:
            filters["LastModifiedTimeAfter"] = self._latest - _MARGIN
        seen: dict[str, Mapping[str, Any]] = {}
        for row in rows(self._service, self._key, **filters):
            self._latest = max(self._latest or row["LastModifiedTime"], row["LastModifiedTime"])
            if row["TrainingJobName"] in self._watched:
                seen[row["TrainingJobName"]] = row
        self._rows.update(seen)
        if full:
            self._full = now
            self._latest = self._latest or datetime.now(UTC)
            # What is in progress no more has ended, or is gone: whoever asks is to look at it.
            for name in self._rows.keys() - seen.keys():
                del self._rows[name]


def rows(service: Service, key: str, **filters: Any) -> Iterator[Mapping[str, Any]]:
    """The listed jobs whose names hold `key`, page by page. Raises RunnerError."""
    token: dict[str, str] = {}
    while True:
        answer = service.call(
            "list training jobs",
            "list_training_jobs",
            NameContains=key,
            MaxResults=_PAGE,
            SortBy="CreationTime",
            **filters,
            **token,
        )
        yield from answer["TrainingJobSummaries"]
        if not answer.get("NextToken"):
            return
        token = {"NextToken": answer["NextToken"]}
