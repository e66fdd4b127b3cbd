"""Starts training jobs, and finds again those of an earlier process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from launch_agent.errors import SubmitRejected
from launch_agent.runners import Run
from launch_agent.runners.sagemaker import listing, tags
from launch_agent.runners.sagemaker.listing import Listing
from launch_agent.runners.sagemaker.refusals import Missing, NameTaken
from launch_agent.runners.sagemaker.request import compose, secrets
from launch_agent.runners.sagemaker.run import TrainingJob
from launch_agent.runners.sagemaker.service import Service
from launch_agent.spec import cloud, sagemaker
from launch_agent.spec.identity import agent_key
from launch_agent.spec.model import RunIdentity, RunRequest

# How far back an agent that starts looks for jobs that have ended meanwhile (each is asked for its tags), and
# for jobs that still run: none runs longer than 28 days (quotas of SageMaker).
_ENDED_SINCE, _BEGUN_SINCE = timedelta(days=3), timedelta(days=35)
_ASKERS = 8
# No job of ours is named so: theirs end in the key of an agent.
_NO_JOB = "launch-agent-verify"
_CREATE = "CreateTrainingJob"


class SageMakerRunner:
    """Training jobs of one account and region. `key_secret`: see `request.compose`; `is_kept` says whether
    jobs that have ended stay in the account's history."""

    def __init__(
        self,
        service: Service,
        *,
        key_secret: str = "",
        is_kept: bool = True,
        fresh: float = listing.ROUND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.service = service
        self.is_kept = is_kept
        self._key_secret = key_secret
        self._fresh = fresh
        self._clock = clock
        self._utc = utc
        self._listings: dict[str, Listing] = {}
        self._lock = threading.Lock()

    @property
    def env_limit(self) -> int:
        return sagemaker.LONGEST_VALUE

    def listing(self, agent: str) -> Listing:
        """The listing of an agent's jobs, one for all of its runs."""
        with self._lock:
            if agent not in self._listings:
                self._listings[agent] = Listing(
                    self.service, agent_key(agent), fresh=self._fresh, clock=self._clock, utc=self._utc
                )
            return self._listings[agent]

    def verify(self) -> None:
        """Raise RunnerError where the agent may not list or describe jobs."""
        self.service.call("list training jobs", "list_training_jobs", MaxResults=1)
        try:
            self.service.call("describe training jobs", "describe_training_job", TrainingJobName=_NO_JOB)
        except Missing:
            return

    def submit(self, request: RunRequest) -> Run:
        wanted = self.service.fitted(_CREATE, compose(request, key_secret=self._key_secret))
        cloud.refuse(sagemaker.RESOURCE, self.service.problems(_CREATE, wanted))
        name = wanted["TrainingJobName"]
        what = f"create training job {name}"
        try:
            made = self.service.call(what, "create_training_job", secrets=secrets(request), **wanted)
        except NameTaken:
            return self._theirs_or_ours(name, request.identity)
        arn = made["TrainingJobArn"]
        return TrainingJob(self, name=name, arn=arn, identity=request.identity, created=self._utc())

    def adopt(self, agent: str) -> Sequence[Run]:
        """Jobs whose end was told are left alone; so are those that ended more than three days ago."""
        key, now = agent_key(agent), self._utc()
        windows: tuple[dict[str, Any], ...] = (
            {"StatusEquals": "InProgress", "CreationTimeAfter": now - _BEGUN_SINCE},
            {"LastModifiedTimeAfter": now - _ENDED_SINCE},
        )
        found = {
            row["TrainingJobName"]: row
            for window in windows
            for page in listing.pages(self.service, key, **window)
            for row in page
            if row["TrainingJobName"].endswith(f"-{key}")
        }
        with ThreadPoolExecutor(_ASKERS, thread_name_prefix="sagemaker-adopt") as threads:
            runs = list(threads.map(lambda row: self._adopted(row, agent), found.values()))
        return [run for run in runs if run is not None]

    def close(self) -> None:
        with self._lock:
            listings = list(self._listings.values())
        for each in listings:
            each.close()
        self.service.close()

    def _adopted(self, row: Mapping[str, Any], agent: str) -> Run | None:
        try:
            found = self._tags(row["TrainingJobArn"])
            identity = tags.from_tags(found)
            if identity is None or identity.agent != agent or tags.are_reported(found):
                return None
            return self._run(self._describe(row["TrainingJobName"]), identity)
        except Missing:
            return None  # deleted since it was listed

    def _theirs_or_ours(self, name: str, wanted: RunIdentity) -> Run:
        try:
            job = self._describe(name)
            whose = tags.from_tags(self._tags(job["TrainingJobArn"]))
        except Missing as error:
            # Deleted in between; the next try creates it.
            error.retryable = True
            raise
        if whose is None or (whose.item_id, whose.queue_entity) != (wanted.item_id, wanted.queue_entity):
            raise SubmitRejected(
                f"there is already a training job named {name!r}, and it is not this job's",
                hint="another program uses the names of launch-agent; delete that job, or submit again",
            )
        return self._run(job, whose)

    def _describe(self, name: str) -> Mapping[str, Any]:
        what = f"ask for training job {name}"
        found: Mapping[str, Any] = self.service.call(what, "describe_training_job", TrainingJobName=name)
        return found

    def _tags(self, arn: str) -> list[Mapping[str, str]]:
        found: list[Mapping[str, str]] = []
        token: dict[str, str] = {}
        while True:
            answer = self.service.call(f"read the tags of {arn}", "list_tags", ResourceArn=arn, **token)
            found += answer["Tags"]
            if not answer.get("NextToken"):
                return found
            token = {"NextToken": answer["NextToken"]}

    def _run(self, job: Mapping[str, Any], identity: RunIdentity) -> TrainingJob:
        return TrainingJob(
            self,
            name=job["TrainingJobName"],
            arn=job["TrainingJobArn"],
            identity=identity,
            created=job["CreationTime"],
            described=job,
        )
