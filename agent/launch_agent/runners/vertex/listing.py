"""Follows the live custom jobs of an agent: a few requests a minute, however many there are.

The API lists a hundred jobs a page and cannot tell what changed since a time, so rounds get rarer as pages
get more: ten requests a minute at most. A job that is missing from a round has ended, or is gone, and is
asked for by itself. A live job of a queue item that has an older one was created twice (an answer came too
late, or two agents did not know of each other), and is cancelled.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from launch_agent.errors import RunnerError
from launch_agent.runners.polling import Poller
from launch_agent.runners.vertex.request import AGENT_LABEL, ITEM_LABEL
from launch_agent.runners.vertex.service import Service
from launch_agent.runners.vertex.states import LIVE, PREFIX

ROUND_SECONDS = 10.0
# In rounds of ten seconds, so that a page's price in time is six seconds.
_ROUNDS_A_PAGE = 0.6
_FIELDS = "name,displayName,state,labels,createTime"
# Jobs that are asked for by themselves, and stops that are sent, in one go.
_MOST_LOOKS = 50
_MOST_STOPS = 20


class Followed(Protocol):
    """A job that the listing keeps up to date. `since` is the time, by the listing's clock, from which on a
    round that lacks the job means something."""

    wants_look: bool
    wants_stop: bool

    @property
    def name(self) -> str: ...
    @property
    def item(self) -> str: ...
    @property
    def age(self) -> tuple[str, str]: ...
    @property
    def since(self) -> float: ...

    def hear(self, row: Mapping[str, Any]) -> None:
        """Take in the job's row."""
        ...

    def look(self) -> None:
        """Ask for the job by itself. Raises nothing; an error is the job's to tell."""
        ...

    def stop(self) -> bool:
        """Ask for the job's end; False where that has to be tried again."""
        ...


class Listing:
    """Follows the jobs of the agent whose key is `key`. `fresh` is the seconds between two rounds; `surplus`
    is given the row of a job that should not be there. `error` is why the last round failed, `heard` when one
    last succeeded."""

    def __init__(
        self,
        service: Service,
        key: str,
        *,
        surplus: Callable[[Mapping[str, Any]], None],
        fresh: float = ROUND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._filter = live(key)
        self._surplus = surplus
        self._fresh = fresh
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, list[Followed]] = {}
        self._due = float("-inf")
        self._poller = Poller(self.work, name=f"vertex-{key}")
        self.error: RunnerError | None = None
        self.heard = clock()

    def follow(self, job: Followed) -> None:
        with self._lock:
            is_first = not self._jobs
            self._jobs.setdefault(job.name, []).append(job)
            if is_first:
                self.heard = self._clock()
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

    @property
    def is_idle(self) -> bool:
        return not self._jobs

    @property
    def age(self) -> float:
        """Seconds since something was heard."""
        return self._clock() - self.heard

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
        with self._lock:
            jobs = [job for same in self._jobs.values() for job in same]
        if not jobs:
            return math.inf
        stopping = [job for job in jobs if job.wants_stop]
        for job in stopping[:_MOST_STOPS]:
            job.stop()
        begun = self._clock()
        if begun >= self._due:
            pages = 1
            try:
                pages = self._round(jobs, begun)
                self.error, self.heard = None, self._clock()
            except RunnerError as error:
                self.error = error
            self._due = begun + self._fresh * max(1.0, pages * _ROUNDS_A_PAGE)
        return 0.0 if len(stopping) > _MOST_STOPS else max(0.0, self._due - self._clock())

    def _round(self, jobs: Sequence[Followed], begun: float) -> int:
        """Hear of all live jobs; returns how many requests that took."""
        rows: dict[str, Mapping[str, Any]] = {}
        pages = 1
        for page, row in self._service.find("list custom jobs", self._filter, fields=_FIELDS):
            rows[row["name"]] = row
            pages = page
        for job in jobs:
            if row := rows.get(job.name):
                job.hear(row)
            elif job.since < begun:
                job.wants_look = True
        for job in [job for job in jobs if job.wants_look][:_MOST_LOOKS]:
            job.look()
        self._weed(jobs, rows)
        return pages

    def _weed(self, jobs: Sequence[Followed], rows: Mapping[str, Mapping[str, Any]]) -> None:
        oldest = {job.item: job.age for job in sorted(jobs, key=lambda job: job.age, reverse=True)}
        with self._lock:
            known = set(self._jobs)
        for row in rows.values():
            first = oldest.get(row.get("labels", {}).get(ITEM_LABEL, ""))
            if first is not None and row["name"] not in known and age_of(row) > first:
                self._surplus(row)


def age_of(job: Mapping[str, Any]) -> tuple[str, str]:
    """By which the first of several jobs is told."""
    return str(job.get("createTime", "")), str(job["name"])


def live(key: str) -> str:
    """The filter for an agent's jobs that have not ended."""
    states = " OR ".join(f'state="{PREFIX}{word}"' for word in LIVE)
    return f'labels.{AGENT_LABEL}="{key}" AND ({states})'
