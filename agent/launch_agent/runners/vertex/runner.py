"""Starts custom jobs, and finds again those of an earlier process.

The API gives jobs numbers of its own choice, so nothing in it keeps a job from being created twice. Before a
job is created, one with the item's label is looked for; afterwards too, and of several that were created at
the same time all but the oldest are cancelled, by whoever sees them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from launch_agent.errors import RightMissing, RunnerError
from launch_agent.runners import Run, WatchHealth
from launch_agent.runners.vertex import listing
from launch_agent.runners.vertex.listing import Listing, age_of
from launch_agent.runners.vertex.request import (
    AGENT_LABEL,
    ENV_LIMIT,
    ITEM_LABEL,
    compose,
    identity_of,
    secrets,
)
from launch_agent.runners.vertex.run import CustomJob
from launch_agent.runners.vertex.service import Service
from launch_agent.runners.vertex.told import Told
from launch_agent.spec.identity import agent_key, item_hash
from launch_agent.spec.model import RunIdentity, RunRequest
from launch_agent.telemetry.targets import Usage

_log = logging.getLogger(__name__)
# How far back an agent that starts looks for jobs that have ended meanwhile.
LOOK_BACK = timedelta(hours=24)
_PERMISSIONS = (
    "aiplatform.customJobs.create",
    "aiplatform.customJobs.list",
    "aiplatform.customJobs.get",
    "aiplatform.customJobs.cancel",
    "logging.logEntries.list",
)
_DELETE = "aiplatform.customJobs.delete"


class VertexRunner:
    """Custom jobs of one project and region. `is_kept` says whether ended jobs stay in its history; `told`
    remembers which of these have been reported."""

    def __init__(
        self,
        service: Service,
        *,
        is_kept: bool = True,
        told: Told | None = None,
        fresh: float = listing.ROUND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.service = service
        self.is_kept = is_kept
        self.told = told or Told(None)
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
            if agent not in self._listings:
                self._listings[agent] = Listing(
                    self.service,
                    agent_key(agent),
                    surplus=self._cancel_surplus,
                    fresh=self._fresh,
                    clock=self._clock,
                )
            return self._listings[agent]

    def verify(self) -> None:
        for _ in self.service.find("list custom jobs", listing.live("none"), fields="name"):
            return

    def examine(self) -> None:
        """`verify`, and a look at what else the agent's account will need. Where that cannot be asked (the
        API of Resource Manager is off), nothing is said of it."""
        self.verify()
        needed = _PERMISSIONS if self.is_kept else (*_PERMISSIONS, _DELETE)
        try:
            missing = self.service.missing("ask for the account's permissions", needed)
        except RunnerError as error:
            _log.debug("permissions are not looked at: %s", error)
            return
        if missing:
            raise RightMissing(
                f"the agent's account lacks {', '.join(missing)} on the project {self.service.project}",
                hint="'launch-agent permissions --resource vertex' prints the role that it needs",
            )

    def submit(self, request: RunRequest) -> Run:
        job = compose(request, project=self.service.project, region=self.service.region)
        hidden = secrets(request)
        if found := self._of_item(request.identity):
            return self._run(found, request.identity)
        made = self.service.create(f"create custom job {job['displayName']}", job, secrets=hidden)
        oldest = self._of_item(request.identity) or made
        return self._run(oldest, request.identity)

    def adopt(self, agent: str) -> Sequence[Run]:
        """Jobs that live, whenever they were created, and those created within a day; of several of one item
        the oldest, while the others are cancelled."""
        since = (self._utc() - LOOK_BACK).strftime("%Y-%m-%dT%H:%M:%SZ")
        key = agent_key(agent)
        filters = (listing.live(key), f'labels.{AGENT_LABEL}="{key}" AND create_time>"{since}"')
        found = {
            job["name"]: job for each in filters for _, job in self.service.find("list custom jobs", each)
        }
        runs: dict[tuple[str, str], Run] = {}
        for job in sorted(found.values(), key=age_of):
            identity = identity_of(job)
            if identity is None or identity.agent != agent:
                continue
            item = (identity.queue_entity, identity.item_id)
            if item in runs:
                self._cancel_surplus(job)
            else:
                runs[item] = self._run(job, identity)
        return [run for run in runs.values() if isinstance(run, CustomJob) and not self.told.has(run.name)]

    def health(self) -> Sequence[WatchHealth]:
        with self._lock:
            listings = [each for each in self._listings.values() if not each.is_idle]
        return [
            WatchHealth(name="custom jobs", age=each.age, listed=each.age, error=str(each.error or ""))
            for each in listings
        ]

    def usage(self) -> Usage:
        return self.service.usage()

    def close(self) -> None:
        with self._lock:
            listings = list(self._listings.values())
        self.service.close()
        for each in listings:
            each.close()

    def _of_item(self, identity: RunIdentity) -> Mapping[str, Any] | None:
        """The item's job; the oldest where there are several, of which the others are cancelled."""
        own = {AGENT_LABEL: agent_key(identity.agent), ITEM_LABEL: item_hash(identity)}
        wanted = " AND ".join(f'labels.{key}="{value}"' for key, value in own.items())
        jobs = [
            job
            for _, job in self.service.find("look for the item's custom job", wanted)
            if (whose := identity_of(job)) is not None
            and whose.item_id == identity.item_id
            and not self.told.has(job["name"])  # an item that is back in its queue runs once more
        ]
        jobs.sort(key=age_of)
        for other in jobs[1:]:
            self._cancel_surplus(other)
        return jobs[0] if jobs else None

    def _cancel_surplus(self, job: Mapping[str, Any]) -> None:
        """Have a job that was created once too often end, as often as it takes. Of a row without the
        variables that name the run, the job is asked for first."""
        try:
            if identity_of(job) is None:
                job = self.service.get(f"ask for custom job {job['displayName']}", job["name"])
        except RunnerError as error:
            _log.warning("a second custom job %s goes on for now: %s", job["name"], error)
            return
        if identity := identity_of(job):
            _log.warning("custom job %s was created twice; the later one is cancelled", job["displayName"])
            self._run(job, identity).cancel()

    def _run(self, job: Mapping[str, Any], identity: RunIdentity) -> CustomJob:
        return CustomJob(self, job, identity=identity, since=self._clock())
