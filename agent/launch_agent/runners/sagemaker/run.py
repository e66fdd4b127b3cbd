"""One training job: its state, its output, its end."""

from __future__ import annotations

from typing import Protocol

from launch_agent.errors import RunnerError
from launch_agent.runners.sagemaker import logs, states, tags
from launch_agent.runners.sagemaker.listing import Listing
from launch_agent.runners.sagemaker.refusals import JobMissing
from launch_agent.runners.sagemaker.service import Service
from launch_agent.spec.model import RunIdentity, RunState, RunStatus


class Host(Protocol):
    """What a run needs of its runner."""

    service: Service
    is_kept: bool

    def listing(self, agent: str) -> Listing: ...


class TrainingJob:
    """A job that was created, or that an earlier agent has created. `arn` is the job's, for its tags."""

    def __init__(self, host: Host, *, name: str, arn: str, identity: RunIdentity) -> None:
        self._host = host
        self._name = name
        self._arn = arn
        self._identity = identity
        self._listing = host.listing(identity.agent)
        self._listing.watch(name)
        self._end: RunStatus | None = None
        self._cancelled = False

    @property
    def id(self) -> str:
        return self._name

    @property
    def identity(self) -> RunIdentity:
        return self._identity

    def status(self) -> RunStatus:
        if self._end is not None:
            return self._end
        row = self._listing.read(self._name)
        if row is not None:
            seen = states.status_of(row, is_cancelled=self._cancelled)
            if not seen.state.is_terminal:
                return self._stopping(seen)
        # Not listed yet, or at its end: the description has the reason.
        return self._look()

    def _look(self) -> RunStatus:
        try:
            found = self._host.service.call(
                f"ask for training job {self._name}", "describe_training_job", TrainingJobName=self._name
            )
        except JobMissing:
            return self._ended(states.gone())
        seen = states.status_of(found, is_cancelled=self._cancelled)
        if seen.state.is_terminal:
            return self._ended(seen)
        return self._stopping(seen)

    def _stopping(self, seen: RunStatus) -> RunStatus:
        return RunStatus(state=RunState.STOPPING) if self._cancelled else seen

    def _ended(self, status: RunStatus) -> RunStatus:
        self._end = status
        self._listing.forget(self._name)
        return status

    def logs(self, tail: int) -> str:
        return logs.read(self._host.service, self._name, tail)

    def cancel(self) -> None:
        if self._end is not None or self._cancelled:
            return
        try:
            self._host.service.call(
                f"stop training job {self._name}", "stop_training_job", TrainingJobName=self._name
            )
        except JobMissing:
            return
        except RunnerError as error:
            # A job that has just ended cannot be stopped any more, and says so as a bad request.
            if "InProgress" in error.message or "Unable to transition" in error.message:
                return
            raise
        self._cancelled = True

    def release(self) -> None:
        """Mark the job's end as told. Jobs stay in the account's history, as SageMaker's own do, unless the
        config says that they are to be deleted."""
        if self._end is None:
            raise RunnerError(f"training job {self._name} has not ended")
        if self._is_gone():
            return
        if self._host.is_kept:
            self._host.service.call(
                f"mark training job {self._name}",
                "add_tags",
                ResourceArn=self._arn,
                Tags=[{"Key": tags.REPORTED, "Value": "true"}],
            )
            return
        try:
            self._host.service.call(
                f"delete training job {self._name}", "delete_training_job", TrainingJobName=self._name
            )
        except JobMissing:
            return

    def _is_gone(self) -> bool:
        return self._end is not None and self._end.reason == "JobDeleted"
