"""One training job: its state, its output, its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from launch_agent.errors import RunnerError
from launch_agent.runners.sagemaker import logs, states, tags
from launch_agent.runners.sagemaker.listing import Listing
from launch_agent.runners.sagemaker.refusals import Ended, Missing
from launch_agent.runners.sagemaker.service import Service
from launch_agent.spec.model import RunIdentity, RunState, RunStatus

_log = logging.getLogger(__name__)
_CREATED = RunStatus(state=RunState.STARTING)
_STOPPING = RunStatus(state=RunState.STOPPING)
_EPOCH = datetime.fromtimestamp(0, UTC)


class Host(Protocol):
    """What a run needs of its runner."""

    service: Service
    is_kept: bool

    def listing(self, agent: str) -> Listing: ...


class TrainingJob:
    """A job that was created, or that an earlier agent has created. `arn` is the job's, for its tags;
    `described` is what is known of it: a description, or a row of a listing."""

    def __init__(
        self,
        host: Host,
        *,
        name: str,
        arn: str,
        identity: RunIdentity,
        created: datetime,
        described: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.created = created
        self.wants_look = False
        self.wants_stop = False
        self._host = host
        self._arn = arn
        self._identity = identity
        self._listing = host.listing(identity.agent)
        self._modified = _EPOCH
        self._status = _CREATED
        self._is_stopping = False
        self._is_released = False
        self._error: RunnerError | None = None
        if described is not None:
            self._take(described)
        if not self._status.state.is_terminal:
            self._listing.follow(self)

    @property
    def id(self) -> str:
        return self.name

    @property
    def identity(self) -> RunIdentity:
        return self._identity

    def status(self) -> RunStatus:
        if self._status.state.is_terminal:
            return self._status
        self._listing.start()
        if error := self._error or self._listing.error:
            raise RunnerError(error.message, hint=error.hint, retryable=True) from error
        return _STOPPING if self._is_stopping else self._status

    def hear(self, row: Mapping[str, Any]) -> None:
        """A row has no reason of a failure, and in some places no secondary status."""
        if row["LastModifiedTime"] < self._modified:
            return  # rows of one moment come from several servers
        self._modified = row["LastModifiedTime"]
        status, detail = row["TrainingJobStatus"], row.get("SecondaryStatus")
        is_vague = not detail and (
            status == "Stopped" or (status == "InProgress" and not self._status.state.has_started)
        )
        if status == "Failed" or is_vague:
            self.wants_look = True
        elif detail or status != "InProgress":
            self._take(row)

    def doubt(self) -> None:
        self.wants_look = True

    def look(self) -> None:
        what = f"ask for training job {self.name}"
        try:
            found = self._host.service.call(what, "describe_training_job", TrainingJobName=self.name)
        except Missing:
            self._set(states.gone())
        except RunnerError as error:
            self._error = error
            return
        else:
            self._take(found)
        self._error, self.wants_look = None, False

    def stop(self) -> bool:
        what = f"stop training job {self.name}"
        try:
            self._host.service.call(what, "stop_training_job", TrainingJobName=self.name)
        except (Missing, Ended):
            self.wants_look = True
        except RunnerError as error:
            _log.warning("training job %s cannot be stopped yet: %s", self.name, error)
            return False
        self.wants_stop = False
        return True

    def logs(self, tail: int) -> str:
        return logs.read(self._host.service, self.name, tail)

    def cancel(self) -> None:
        if self._status.state.is_terminal or self._is_stopping:
            return
        self._is_stopping = self.wants_stop = True
        self._listing.wake()

    def release(self) -> None:
        """Mark the job's end as told. Jobs stay in the account's history, as SageMaker's own do, unless the
        config says that they are to be deleted."""
        if not self._status.state.is_terminal:
            raise RunnerError(f"training job {self.name} has not ended")
        if self._is_released or self._status.reason == states.GONE:
            return
        try:
            if self._host.is_kept:
                self._host.service.call(
                    f"mark training job {self.name}",
                    "add_tags",
                    ResourceArn=self._arn,
                    Tags=[{"Key": tags.REPORTED, "Value": "true"}],
                )
            else:
                what = f"delete training job {self.name}"
                self._host.service.call(what, "delete_training_job", TrainingJobName=self.name)
        except Missing:
            pass  # somebody was quicker
        self._is_released = True

    def _take(self, described: Mapping[str, Any]) -> None:
        self._set(states.status_of(described, is_cancelled=self._is_stopping))

    def _set(self, status: RunStatus) -> None:
        if status == self._status:
            return  # whoever looks again is to find the very same object
        self._status = replace(status)
        if status.state.is_terminal:
            self._listing.forget(self)
