"""Starts custom jobs, and finds again those of an earlier process.

The API gives jobs numbers of its own choice, so nothing in it keeps a job from being created twice. Before a
job is created, one with the item's label is looked for; afterwards too, and of several that were created at
the same time all but the oldest are cancelled, by whoever sees them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from launch_agent.errors import RunnerError
from launch_agent.runners import Run
from launch_agent.runners.vertex import listing
from launch_agent.runners.vertex.listing import Listing
from launch_agent.runners.vertex.request import AGENT_LABEL, ENV_LIMIT, ITEM_LABEL, compose, identity_of
from launch_agent.runners.vertex.run import CustomJob
from launch_agent.runners.vertex.service import Service
from launch_agent.spec.identity import agent_key, item_hash
from launch_agent.spec.model import RunIdentity, RunRequest

# How far back an agent that starts looks for jobs that have ended meanwhile. Jobs cannot be marked once they
# are created, so an end within this time may be told twice, which changes nothing.
_LOOK_BACK = timedelta(hours=24)


class VertexRunner:
    """Custom jobs of one project and region. `is_kept` says whether ended jobs stay in its history."""

    def __init__(
        self,
        service: Service,
        *,
        is_kept: bool = True,
        fresh: float = listing.ROUND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.service = service
        self.is_kept = is_kept
        self._fresh = fresh
        self._clock = clock
        self._utc = utc
        self._listings: dict[str, Listing] = {}
        self._lock = threading.Lock()

    @property
    def env_limit(self) -> int:
        return ENV_LIMIT

    def listing(self, agent: str) -> Listing:
        """The listing of an agent's jobs, one for all of its runs."""
        with self._lock:
            return self._listings.setdefault(
                agent, Listing(self.service, agent_key(agent), fresh=self._fresh, clock=self._clock)
            )

    def verify(self) -> None:
        for _ in self.service.find("list custom jobs", listing.live("none"), fields="name"):
            return

    def submit(self, request: RunRequest) -> Run:
        job = compose(request)
        if found := self._of_item(request.identity):
            return self._run(found, request.identity)
        made = self.service.create(f"create custom job {job['displayName']}", job)
        oldest = self._of_item(request.identity) or made
        return self._run(oldest, request.identity)

    def adopt(self, agent: str) -> Sequence[Run]:
        since = (self._utc() - _LOOK_BACK).strftime("%Y-%m-%dT%H:%M:%SZ")
        key = agent_key(agent)
        filters = (listing.live(key), f'labels.{AGENT_LABEL}="{key}" AND create_time>"{since}"')
        found = {
            job["name"]: job for each in filters for _, job in self.service.find("list custom jobs", each)
        }
        runs = []
        for job in found.values():
            identity = identity_of(job)
            if identity is not None and identity.agent == agent:
                runs.append(self._run(job, identity))
        return runs

    def close(self) -> None:
        self.service.close()

    def _of_item(self, identity: RunIdentity) -> Mapping[str, Any] | None:
        """The item's job; the oldest where there are several, of which the others are cancelled."""
        own = {AGENT_LABEL: agent_key(identity.agent), ITEM_LABEL: item_hash(identity)}
        wanted = " AND ".join(f'labels.{key}="{value}"' for key, value in own.items())
        jobs = [
            job
            for _, job in self.service.find("look for the item's custom job", wanted)
            if (whose := identity_of(job)) is not None and whose.item_id == identity.item_id
        ]
        jobs.sort(key=lambda job: (job.get("createTime", ""), job["name"]))
        for other in jobs[1:]:
            try:
                self.service.cancel(f"cancel a second custom job {other['displayName']}", other["name"])
            except RunnerError:
                continue  # it has ended, or the next look sees it again
        return jobs[0] if jobs else None

    def _run(self, job: Mapping[str, Any], identity: RunIdentity) -> CustomJob:
        return CustomJob(
            self, name=job["name"], title=job["displayName"], identity=identity, since=self._clock()
        )
