"""Starts training jobs, and finds again those of an earlier process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from launch_agent.errors import SubmitRejected
from launch_agent.runners import Run
from launch_agent.runners.sagemaker import listing, tags
from launch_agent.runners.sagemaker.listing import Listing
from launch_agent.runners.sagemaker.refusals import JobMissing, NameTaken
from launch_agent.runners.sagemaker.request import ENV_LIMIT, compose
from launch_agent.runners.sagemaker.run import TrainingJob
from launch_agent.runners.sagemaker.service import Service
from launch_agent.spec.identity import agent_key
from launch_agent.spec.model import RunIdentity, RunRequest

_log = logging.getLogger(__name__)
# How far back an agent that starts looks for jobs that have ended meanwhile.
_LOOK_BACK = timedelta(days=7)


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
    ) -> None:
        self.service = service
        self.is_kept = is_kept
        self._key_secret = key_secret
        self._fresh = fresh
        self._listings: dict[str, Listing] = {}
        self._lock = threading.Lock()

    @property
    def env_limit(self) -> int:
        return ENV_LIMIT

    def listing(self, agent: str) -> Listing:
        """The listing of an agent's jobs, one for all of its runs."""
        with self._lock:
            return self._listings.setdefault(
                agent, Listing(self.service, agent_key(agent), fresh=self._fresh)
            )

    def verify(self) -> None:
        self.service.call("list training jobs", "list_training_jobs", MaxResults=1)

    def submit(self, request: RunRequest) -> Run:
        wanted = compose(request, key_secret=self._key_secret)
        name = wanted["TrainingJobName"]
        try:
            made = self.service.call(f"create training job {name}", "create_training_job", **wanted)
        except NameTaken:
            return self._theirs_or_ours(name, request.identity)
        return self._run(name, made["TrainingJobArn"], request.identity)

    def adopt(self, agent: str) -> Sequence[Run]:
        """Ended jobs of the last seven days are looked at, and left alone where their end was told."""
        key, since = agent_key(agent), datetime.now(UTC) - _LOOK_BACK
        found = {
            row["TrainingJobName"]: row for row in listing.rows(self.service, key, StatusEquals="InProgress")
        }
        found |= {
            row["TrainingJobName"]: row
            for row in listing.rows(self.service, key, LastModifiedTimeAfter=since)
        }
        runs = [self._adopted(name, row, agent) for name, row in found.items()]
        return [run for run in runs if run is not None]

    def close(self) -> None:
        self.service.close()

    def _adopted(self, name: str, row: Mapping[str, Any], agent: str) -> Run | None:
        if not name.endswith(f"-{agent_key(agent)}"):
            return None
        arn = row["TrainingJobArn"]
        found = self._tags(arn)
        identity = tags.from_tags(found)
        if identity is None or identity.agent != agent or tags.are_reported(found):
            return None
        return self._run(name, arn, identity)

    def _theirs_or_ours(self, name: str, wanted: RunIdentity) -> Run:
        try:
            job = self.service.call(
                f"ask for training job {name}", "describe_training_job", TrainingJobName=name
            )
        except JobMissing as error:
            # Deleted in between; the next try creates it.
            error.retryable = True
            raise
        whose = tags.from_tags(self._tags(job["TrainingJobArn"]))
        if whose is None or (whose.item_id, whose.queue_entity) != (wanted.item_id, wanted.queue_entity):
            raise SubmitRejected(
                f"there is already a training job named {name!r}, and it is not this job's",
                hint="another program uses the names of launch-agent; delete that job, or submit again",
            )
        return self._run(name, job["TrainingJobArn"], whose)

    def _tags(self, arn: str) -> list[Mapping[str, str]]:
        found: list[Mapping[str, str]] = []
        token: dict[str, str] = {}
        while True:
            answer = self.service.call(f"read the tags of {arn}", "list_tags", ResourceArn=arn, **token)
            found += answer["Tags"]
            if not answer.get("NextToken"):
                return found
            token = {"NextToken": answer["NextToken"]}

    def _run(self, name: str, arn: str, identity: RunIdentity) -> TrainingJob:
        return TrainingJob(self, name=name, arn=arn, identity=identity)
