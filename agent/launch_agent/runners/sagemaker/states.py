"""Where a training job is, from its description, with what to change where it failed.

Statuses are those of DescribeTrainingJob. The first word of a FailureReason says whose fault it was:
`AlgorithmError` the job's own, `ClientError` the request's, `InternalServerError` and `CapacityError` the
service's (SageMaker developer guide, "Troubleshoot").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.runners.exits import status_of as status_of_exit
from launch_agent.spec.model import RunState, RunStatus

_WAITING: Mapping[str, str] = {
    "Pending": "waits for capacity of its training plan or warm pool",
    "Interrupted": "was interrupted with its spot instance, and waits for another",
    "Restarting": "starts again",
}
_STARTING = frozenset(
    {"Starting", "LaunchingMLInstances", "PreparingTrainingStack", "Downloading", "DownloadingTrainingImage"}
)
# Ends that the service calls Stopped, though nobody asked for a stop.
_OUT_OF_TIME: Mapping[str, tuple[str, str, str]] = {
    "MaxRuntimeExceeded": (
        "DeadlineExceeded",
        "the job ran longer than it may",
        "StoppingCondition.MaxRuntimeInSeconds of the queue's configuration sets the time",
    ),
    "MaxWaitTimeExceeded": (
        "SpotWaitExceeded",
        "the job waited for spot capacity longer than it may",
        "StoppingCondition.MaxWaitTimeInSeconds sets the time; EnableManagedSpotTraining: false takes "
        "on-demand instances",
    ),
}
# The reason of a job that somebody deleted.
GONE = "JobDeleted"
_EXIT = re.compile(r"[Ee]xit ?[Cc]ode:? *\"?(\d{1,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """A failure that is known by words in its reason."""

    words: str
    reason: str
    hint: str


_CAUSES = (
    _Cause(
        words=r"CapacityError|Unable to provision requested ML compute capacity",
        reason="NoCapacity",
        hint="try another instance type, region or availability zone, or a training plan",
    ),
    _Cause(
        words=r"ResourceLimitExceeded|service limit|quota",
        reason="QuotaExceeded",
        hint="ask for a higher quota in Service Quotas, or use another instance type",
    ),
    _Cause(
        words=r"(?i)(pull|access|download).{0,60}image|image.{0,60}(not found|does not exist)|ECR image",
        reason="ImagePullError",
        hint="the job's role needs ecr:BatchGetImage, ecr:GetDownloadUrlForLayer and "
        "ecr:GetAuthorizationToken; the image must be in ECR, or TrainingImageConfig must open its registry",
    ),
    _Cause(
        words=r"(?i)AssumeRole|assume the role|sts:AssumeRole",
        reason="RoleNotAssumable",
        hint="the role's trust policy must name sagemaker.amazonaws.com",
    ),
    _Cause(
        words=r"(?i)s3.{0,80}(denied|forbidden|403)|(denied|forbidden).{0,80}s3|No S3 objects|S3 bucket",
        reason="StorageDenied",
        hint="the job's role needs s3:GetObject on the input, and s3:PutObject on "
        "OutputDataConfig.S3OutputPath",
    ),
    _Cause(
        words=r"(?i)kms",
        reason="KeyDenied",
        hint="the key's policy must let the job's role use it (kms:CreateGrant, kms:Decrypt)",
    ),
    _Cause(
        words=r"(?i)OutOfMemory|out of memory|OOM",
        reason="OOMKilled",
        hint="take an instance type with more memory, or let the job use less",
    ),
)


def status_of(description: Mapping[str, Any], *, is_cancelled: bool = False) -> RunStatus:
    """The state that a job's description, or its row in a listing, tells. A row has no failure reason."""
    status, detail = description["TrainingJobStatus"], description.get("SecondaryStatus", "")
    match status:
        case "Completed":
            return RunStatus(state=RunState.FINISHED, exit_code=0)
        case "Failed":
            return failure(description.get("FailureReason", ""))
        case "Stopped" if detail in _OUT_OF_TIME and not is_cancelled:
            reason, message, hint = _OUT_OF_TIME[detail]
            return RunStatus(state=RunState.FAILED, reason=reason, message=message, hint=hint)
        case "Stopped":
            return RunStatus(state=RunState.STOPPED, reason="Stopped")
        case "Stopping":
            return RunStatus(state=RunState.STOPPING)
        case "Deleting":
            return RunStatus(state=RunState.STOPPING, reason="Deleting")
    if detail in _WAITING:
        held = detail == "Pending"
        return RunStatus(
            state=RunState.PENDING, reason=detail, message=f"the job {_WAITING[detail]}", held=held
        )
    # A row in a listing of an older service has no detail: a job that is there is on its way.
    return RunStatus(state=RunState.STARTING if detail in _STARTING or not detail else RunState.RUNNING)


def failure(said: str) -> RunStatus:
    """What a FailureReason means."""
    said = " ".join(said.split())
    exit_code = int(found[1]) if (found := _EXIT.search(said)) else None
    for cause in _CAUSES:
        if re.search(cause.words, said):
            return RunStatus(
                state=RunState.FAILED,
                reason=cause.reason,
                message=f"the training job failed: {said}",
                hint=cause.hint,
                exit_code=exit_code,
            )
    if exit_code:
        ended = status_of_exit(exit_code, if_killed="someone killed it, or memory ran out")
        return RunStatus(
            state=RunState.FAILED,
            reason=ended.reason,
            message=f"{ended.message}: {said}",
            hint=ended.hint,
            exit_code=exit_code,
        )
    word = said.partition(":")[0]
    known = word if re.fullmatch(r"[A-Z][A-Za-z]+", word) else "Failed"
    return RunStatus(
        state=RunState.FAILED,
        reason=known,
        message=f"the training job failed: {said or 'the service gives no reason'}",
        hint="CloudWatch Logs has what the job printed" if known == "AlgorithmError" else "",
    )


def gone() -> RunStatus:
    """A job that somebody deleted."""
    return RunStatus(
        state=RunState.FAILED,
        reason=GONE,
        message="the training job was deleted by someone else",
        hint="its end and its output are not known",
    )
