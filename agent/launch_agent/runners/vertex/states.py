"""Where a custom job is, from what the API tells of it, with what to change where it failed.

States are those of the API's `JobState`; codes those of google.rpc.Code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.runners.exits import status_of as status_of_exit
from launch_agent.spec.model import RunState, RunStatus

PREFIX = "JOB_STATE_"
# The reason of a job that was deleted.
GONE = "JobDeleted"
LIVE = ("QUEUED", "PENDING", "RUNNING", "CANCELLING", "PAUSED", "UPDATING")
_EXIT = re.compile(r"(?:exited with a non-zero status of|exit code:?|non-zero exit code) *(\d{1,3})")
_RESOURCE_EXHAUSTED, _PERMISSION_DENIED, _NOT_FOUND, _INTERNAL, _DEADLINE = 8, 7, 5, 13, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    words: str
    reason: str
    hint: str


_CAUSES = (
    _Cause(
        words=r"(?i)quota",
        reason="QuotaExceeded",
        hint="ask for a higher quota of custom model training in the region, or use another machine type",
    ),
    _Cause(
        words=r"(?i)stockout|insufficient|resources are unavailable|try a different (zone|region)",
        reason="NoCapacity",
        hint="try another region or machine type, a reservation, or scheduling_strategy FLEX_START",
    ),
    _Cause(
        words=r"(?i)service agent|gcp-sa-aiplatform",
        reason="ServiceAgentDenied",
        hint="the service agent of Vertex AI (service-<project number>@gcp-sa-aiplatform.iam.gserviceaccount"
        ".com) needs roles/aiplatform.serviceAgent, and the rights that the message names",
    ),
    _Cause(
        words=r"(?i)\bimages?\b|pulling|artifactregistry|docker\.pkg\.dev",
        reason="ImagePullError",
        hint="the service agent of Vertex AI needs artifactregistry.repositories.downloadArtifacts on the "
        "image's repository, and the image must exist for linux/amd64",
    ),
    _Cause(
        words=r"(?i)out of memory|OOM",
        reason="OOMKilled",
        hint="take a machine type with more memory, or let the job use less",
    ),
    _Cause(
        words=r"(?i)permission|denied|forbidden|403",
        reason="PermissionDenied",
        hint="the job runs as spec's service account, which needs the rights that the message names",
    ),
)


def status_of(job: Mapping[str, Any]) -> RunStatus:
    """The state that a job, or its row in a listing, tells. States that a later API adds are no ends."""
    match str(job.get("state", "")).removeprefix(PREFIX):
        case "SUCCEEDED":
            return RunStatus(state=RunState.FINISHED, exit_code=0)
        case "FAILED" | "PARTIALLY_SUCCEEDED" as word:
            return failure(job.get("error") or {}, partly=word == "PARTIALLY_SUCCEEDED")
        case "CANCELLED":
            return RunStatus(state=RunState.STOPPED, reason="Cancelled")
        case "EXPIRED":
            return RunStatus(
                state=RunState.FAILED,
                reason="DeadlineExceeded",
                message="the job ran, or waited for machines, longer than it may",
                hint="run.timeout and run.max_wait_duration of the queue's configuration set the times",
            )
        case "CANCELLING":
            return RunStatus(state=RunState.STOPPING)
        case "RUNNING" | "UPDATING":
            return RunStatus(state=RunState.RUNNING)
        case "PAUSED":
            return RunStatus(state=RunState.RUNNING, reason="Paused", message="the job is paused")
        case "QUEUED":
            return RunStatus(
                state=RunState.PENDING, reason="Queued", message="the job waits for its turn", held=True
            )
        case "PENDING":
            return RunStatus(state=RunState.STARTING)
    return RunStatus(state=RunState.PENDING)


def failure(error: Mapping[str, Any], *, partly: bool = False) -> RunStatus:
    """What a job's `error` means."""
    said = " ".join(str(error.get("message", "")).split())
    end = "succeeded in part only" if partly else "failed"
    text = f"the custom job {end}: {said or 'the API gives no reason'}"
    if found := _EXIT.search(said):
        ended = status_of_exit(int(found[1]), if_killed="someone killed it, or memory ran out")
        return RunStatus(
            state=RunState.FAILED,
            reason=ended.reason if ended.state is RunState.FAILED else "Error",
            message=f"{ended.message}: {said}" if ended.message else text,
            hint=ended.hint,
            exit_code=int(found[1]),
        )
    for cause in _CAUSES:
        if re.search(cause.words, said):
            return RunStatus(state=RunState.FAILED, reason=cause.reason, message=text, hint=cause.hint)
    reason = {
        _RESOURCE_EXHAUSTED: "QuotaExceeded",
        _PERMISSION_DENIED: "PermissionDenied",
        _NOT_FOUND: "NotFound",
        _INTERNAL: "InternalError",
        _DEADLINE: "DeadlineExceeded",
    }.get(int(error.get("code") or 0), "PartlySucceeded" if partly else "Failed")
    return RunStatus(state=RunState.FAILED, reason=reason, message=text)


def gone() -> RunStatus:
    """A job that somebody deleted."""
    return RunStatus(
        state=RunState.FAILED,
        reason=GONE,
        message="the custom job was deleted by someone else",
        hint="its end and its output are not known",
    )
