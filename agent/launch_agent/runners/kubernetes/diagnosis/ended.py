"""Why a pod has failed: the container that ended badly, and how."""

from __future__ import annotations

from dataclasses import replace

from launch_agent.runners.exits import status_of
from launch_agent.runners.kubernetes.diagnosis.finding import Finding
from launch_agent.runners.kubernetes.diagnosis.waiting import cannot_run, sentence
from launch_agent.runners.kubernetes.facts import ContainerFacts, PodFacts, Progress, Role

_CANNOT_RUN = frozenset({"StartError", "ContainerCannotRun"})
_REJECTED = frozenset(
    {"NodeAffinity", "AppArmor", "PodLevelResourcesNotSupported", "VolumeAttachmentLimitExceeded"}
)
_KILLED = "memory ran out on the node, a liveness probe failed, or it did not end in its grace period"
# Characters of what an init container said last.
_MOST_WORDS = 800
# SIGTERM and SIGKILL, as the kubelet sends them to what it is to end.
_SENT = (143, 137)
# Init containers first: what comes after them never began.
_ORDER = {Role.INIT: 0, Role.MAIN: 1, Role.SIDECAR: 2, Role.EPHEMERAL: 3}
_NAMES = {
    Role.INIT: "init container",
    Role.MAIN: "container",
    Role.SIDECAR: "sidecar",
    Role.EPHEMERAL: "container",
}
_DEADLINE = "raise activeDeadlineSeconds in the queue's configuration, or let the run do less"


def explain(pod: PodFacts) -> Finding | None:
    """Why the pod has failed or is being removed; None for one that goes on or ended well."""
    if pod.phase == "Succeeded" or (pod.phase != "Failed" and pod.deleted is None):
        return None
    found = _by_pod(pod) or _by_containers(pod)
    return replace(found, since=ended_at(pod))


def ended_at(pod: PodFacts) -> float:
    """When a pod ended, in seconds since the epoch; as far as anything of it tells."""
    bad = _culprit(pod)
    times = (_last(bad).ended if bad else None, pod.deleted, pod.began, pod.created)
    return next((one for one in times if one is not None), 0.0)


def deadline(detail: str = "") -> Finding:
    """That a run took longer than it may; `detail` is what it was waiting for."""
    waited = f", and it never began: {detail}" if detail else ""
    return Finding(
        reason="DeadlineExceeded",
        message=f"the run took longer than activeDeadlineSeconds allows{waited}",
        hint=_DEADLINE,
    )


def _by_pod(pod: PodFacts) -> Finding | None:
    if pod.reason == "DeadlineExceeded":
        return deadline()
    if pod.reason == "Evicted":
        return Finding(
            reason="StorageLimitExceeded",
            message=f"the run was ended by its node: {sentence(pod.message)}",
            hint="raise the ephemeral-storage limit or the emptyDir's sizeLimit, or write less",
        )
    if pod.reason in _REJECTED:
        return Finding(
            reason="NodeRejected",
            message=f"node {pod.node} does not take the run: {sentence(pod.message)}",
            hint="check the pod template against what that node offers",
        )
    return None


def _by_containers(pod: PodFacts) -> Finding:
    bad = _culprit(pod)
    if bad is not None:
        ending = _last(bad)
        removed = (
            ending.exit_code in _SENT and ending.reason != "OOMKilled" and _was_deleted_by(pod, ending.ended)
        )
        if not removed:
            return _ending(pod, ending)
    if pod.deleted is None:
        return Finding(reason="PodFailed", message=f"the run's pod failed: {sentence(pod.message)}")
    return Finding(
        reason="PodDeleted",
        message=f"the run's pod {pod.name} was deleted by someone else",
        hint="what it printed last went with it",
        exit_code=bad.exit_code if bad else None,
    )


def _culprit(pod: PodFacts) -> ContainerFacts | None:
    """The container that failed; of several the one that others depend on, then the one that is the run."""
    bad = [one for one in pod.containers if _last(one).exit_code]
    return min(
        bad, key=lambda one: (_ORDER[one.role], one.name != pod.main, _last(one).ended or 0), default=None
    )


def _last(container: ContainerFacts) -> ContainerFacts:
    """The container at its last end: one that was started again tells it by its last state."""
    if container.progress is Progress.TERMINATED or not container.restarts:
        return container
    return replace(
        container,
        reason=container.last_reason,
        message="",
        exit_code=container.last_code,
        ended=container.last_ended,
    )


def _was_deleted_by(pod: PodFacts, ended: float | None) -> bool:
    """Whether a container ended since its pod was deleted; times are whole seconds."""
    return pod.deleted is not None and (ended is None or ended >= pod.deleted - 1)


def _ending(pod: PodFacts, bad: ContainerFacts) -> Finding:
    name = f"{_NAMES[bad.role]} {bad.name}"
    code = bad.exit_code or 0
    if bad.reason == "OOMKilled":
        return _out_of_memory(name, bad.memory, code)
    if bad.reason in _CANNOT_RUN:
        return cannot_run(bad, bad.message, patience=0, exit_code=code)
    if bad.reason == "ContainerStatusUnknown":
        return Finding(
            reason="ContainerGone",
            message=f"node {pod.node} does not know any more how {name} ended",
            hint="the node may have been restarted; its exit code and output went with it",
            exit_code=code,
        )
    told = status_of(code, if_killed=_KILLED)
    is_run = bad.role is Role.MAIN and bad.name == pod.main
    message = told.message if is_run else told.message.replace("the run", name, 1)
    if bad.role is Role.INIT and bad.message.strip():
        # Its log is no log of the run; these words are all that anybody is shown of it.
        message += f": {sentence(_telling(bad.message), _MOST_WORDS)}"
    return Finding(
        reason="InitContainerFailed" if bad.role is Role.INIT else told.reason,
        message=message,
        hint=told.hint,
        exit_code=code,
    )


def _telling(said: str) -> str:
    """The line of a program's last words that says the most: one that begins as errors do, else the last."""
    lines = [line.strip() for line in said.strip().splitlines()]
    return next((line for line in lines if line.lower().startswith(("error", "fatal"))), lines[-1])


def _out_of_memory(name: str, limit: str, code: int) -> Finding:
    why = f"it used more memory than its limit of {limit}" if limit else "its node had no memory left for it"
    return Finding(
        reason="OOMKilled",
        message=f"{name} was killed: {why}",
        hint="raise resources.limits.memory in the queue's configuration, or let the run use less",
        exit_code=code,
    )
