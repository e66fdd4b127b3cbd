"""What all training jobs of an agent are doing: a few requests a minute, however many run.

ListTrainingJobs tells of the jobs that changed since a time, so a round costs one request for each hundred
changes and not one for each job. Times are the service's own: the latest that was seen, less a margin, is
where the next look at them begins. Pages are spread over rounds. A page of everything with each round, for as
long as it takes, finds every ten minutes what was missed and what somebody has deleted.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from launch_agent.errors import RunnerError
from launch_agent.runners.polling import Poller
from launch_agent.runners.sagemaker.service import Service

ROUND_SECONDS = 10.0
# Listings with each round, so that there are twelve in a minute at most; and after how many all is seen.
_REQUESTS = 2
_ROUNDS_UNTIL_ALL = 60.0
# Changes reach the listing late, and not in their order; clocks differ.
_MARGIN = timedelta(seconds=120)
# By how much the clock of the agent may be ahead of the service's.
_SKEW = timedelta(minutes=15)
_PAGE = 100
# Jobs that are asked for by themselves, and stops that are sent, before the next round.
_MOST_LOOKS = 50
_MOST_STOPS = 20


class Followed(Protocol):
    """A job that the listing keeps up to date."""

    @property
    def name(self) -> str: ...
    @property
    def created(self) -> datetime: ...
    @property
    def wants_look(self) -> bool: ...
    @property
    def wants_stop(self) -> bool: ...

    def hear(self, row: Mapping[str, Any]) -> None:
        """Take in the job's row of a listing."""
        ...

    def doubt(self) -> None:
        """Hear that the job is missing from a listing of all."""
        ...

    def look(self) -> None:
        """Ask for the job by itself. Raises nothing; an error is the job's to tell."""
        ...

    def stop(self) -> bool:
        """Ask for the job's stop; False where that has to be tried again."""
        ...


class Listing:
    """Follows the jobs whose names hold `key`. `fresh` is the seconds between rounds; `utc` is the time of
    day. Between rounds nothing is asked for; `error` is why the last one failed."""

    def __init__(
        self,
        service: Service,
        key: str,
        *,
        fresh: float = ROUND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._service = service
        self._key = key
        self._fresh = fresh
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, list[Followed]] = {}
        self._due = float("-inf")
        self._utc = utc
        self._begun = utc()
        self._latest = self._begun - _SKEW
        self._changes: Iterator[Sequence[Mapping[str, Any]]] | None = None
        self._all = _All(due=clock() + fresh * _ROUNDS_UNTIL_ALL)
        self._poller = Poller(self.work, name=f"sagemaker-{key}")
        self.error: RunnerError | None = None

    def follow(self, job: Followed) -> None:
        with self._lock:
            is_first = not self._jobs
            self._jobs.setdefault(job.name, []).append(job)
        self._poller.start()
        if is_first:
            self._poller.wake()

    def forget(self, job: Followed) -> None:
        with self._lock:
            left = [other for other in self._jobs.get(job.name, ()) if other is not job]
            if left:
                self._jobs[job.name] = left
            else:
                self._jobs.pop(job.name, None)

    def start(self) -> None:
        """See to it that rounds are made."""
        self._poller.start()

    def wake(self) -> None:
        """There is a stop to be sent."""
        self._poller.wake()

    def close(self) -> None:
        self._poller.close()

    def work(self) -> float:
        """Send the stops that are asked for, and make a round if it is time for one; returns the seconds
        until there is something to do again."""
        jobs = self._snapshot()
        if not jobs:
            return math.inf
        stopping = [job for job in jobs if job.wants_stop]
        for job in stopping[:_MOST_STOPS]:
            job.stop()
        begun = self._clock()
        if begun >= self._due:
            try:
                self._round(jobs)
                self.error = None
            except RunnerError as error:
                self._changes, self.error = None, error
            self._due = begun + self._fresh
        return 0.0 if len(stopping) > _MOST_STOPS else max(0.0, self._due - self._clock())

    def _snapshot(self) -> list[Followed]:
        with self._lock:
            return [job for jobs in self._jobs.values() for job in jobs]

    def _round(self, jobs: Sequence[Followed]) -> None:
        """Hear of the next pages of changes, and of one of all jobs where a look at all of them is due."""
        is_due = self._all.pages is not None or self._clock() >= self._all.due
        for number in range(_REQUESTS - is_due):
            page = self._next_page()
            if page is None and number == 0:
                self._begun = self._utc()
                self._changes = pages(self._service, self._key, LastModifiedTimeAfter=self._latest - _MARGIN)
                page = self._next_page()
            if page is None:
                break
            self._hear(page)
        if is_due:
            self._see_all(jobs)
        for job in [job for job in jobs if job.wants_look][:_MOST_LOOKS]:
            job.look()

    def _next_page(self) -> Sequence[Mapping[str, Any]] | None:
        """The next page of the look at what has changed; None where it is at its end."""
        page = next(self._changes, None) if self._changes is not None else None
        if page is None and self._changes is not None:
            # Where nothing changes any more, what has changed last is not to be listed for ever.
            self._latest = max(self._latest, self._begun - _SKEW)
            self._changes = None
        return page

    def _hear(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self._latest = max(self._latest, row["LastModifiedTime"])
            with self._lock:
                jobs = list(self._jobs.get(row["TrainingJobName"], ()))
            for job in jobs:
                job.hear(row)

    def _see_all(self, jobs: Sequence[Followed]) -> None:
        """One page of all jobs; once there are no more, those that were on none are doubted."""
        looked = self._all
        if looked.pages is None:
            since = min(job.created for job in jobs) - _MARGIN
            looked.pages = pages(self._service, self._key, CreationTimeAfter=since)
            looked.members = {job.name for job in jobs}
        try:
            page = next(looked.pages, None)
        except RunnerError:
            # Nothing may be concluded from a look that was cut off.
            self._all = _All(due=self._clock())
            raise
        if page is not None:
            looked.members -= {row["TrainingJobName"] for row in page}
            self._hear(page)
            return
        for job in jobs:
            if job.name in looked.members:
                job.doubt()
        self._all = _All(due=self._clock() + self._fresh * _ROUNDS_UNTIL_ALL)


class _All:
    """A look at all jobs, page by page: when it is to begin, and of whom it has not heard yet."""

    def __init__(self, *, due: float) -> None:
        self.due = due
        self.pages: Iterator[Sequence[Mapping[str, Any]]] | None = None
        self.members: set[str] = set()


def pages(service: Service, key: str, **filters: Any) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The listed jobs whose names hold `key`, a page with each request. Raises RunnerError."""
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
        yield answer["TrainingJobSummaries"]
        if not answer.get("NextToken"):
            return
        token = {"NextToken": answer["NextToken"]}
