"""Why a container that should run does not: the reasons that the kubelet gives for waiting.

They are the errors of kubernetes pkg/kubelet/kuberuntime/kuberuntime_container.go and
pkg/kubelet/container/sync_result.go; which Secret or which key is missing stands in their text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from launch_agent.runners.kubernetes.diagnosis import images
from launch_agent.runners.kubernetes.diagnosis.finding import NEVER, Finding
from launch_agent.runners.kubernetes.facts import ContainerFacts, EventFacts, PodFacts, Progress, Role

# Secrets are often written by another controller (External Secrets, Vault) shortly after the pod.
_CONFIG_GRACE = 60.0
# The runtime repeats what failed for a passing reason, a busy disk for one.
_CREATE_GRACE = 60.0
# The backoff limit that Kubernetes has for Jobs: after so many restarts in place it is the program.
CRASHES = 6

_MISSING = re.compile(r"\b(?P<kind>secret|configmap) \"(?P<name>[^\"]+)\" not found", re.IGNORECASE)
_KEY = re.compile(r"couldn't find key (?P<key>\S+) in (?P<kind>Secret|ConfigMap) [^/\s]+/(?P<name>\S+)")
_KINDS = {"secret": "Secret", "configmap": "ConfigMap"}
_ENTRY = (
    "executable file not found", "no such file or directory", "permission denied", "no command specified",
    "exec format error", "is a directory",
)  # fmt: skip
_BUSY = ("deadline exceeded", "is reserved for", "already in use")


def explain(pod: PodFacts, events: Sequence[EventFacts]) -> Iterator[Finding]:
    """What keeps the containers of a pod that has not ended."""
    for container in pod.containers:
        if container.progress is Progress.WAITING:
            found = (
                images.explain(pod, container, events) or _configuration(container) or _creation(container)
            )
            if found := found or _crashes(pod, container):
                yield found


def missing_source(text: str) -> str:
    """`Secret "x" does not exist` for the kubelet's words about it; empty where the text names none."""
    if found := _KEY.search(text):
        return f'{found["kind"]} "{found["name"]}" has no key "{found["key"]}"'
    if found := _MISSING.search(text):
        return f'{_KINDS[found["kind"].lower()]} "{found["name"]}" does not exist'
    return ""


def cannot_run(
    container: ContainerFacts, text: str, *, patience: float, exit_code: int | None = None
) -> Finding:
    """That the runtime could not start the container's program."""
    entry = any(word in text.lower() for word in _ENTRY)
    return Finding(
        reason="ContainerCannotRun",
        message=f"container {container.name} cannot be started: {sentence(text)}",
        hint="check the entry point: the image must have that program, and it must be executable"
        if entry
        else "",
        patience=patience,
        exit_code=exit_code,
    )


def sentence(text: str, longest: int = 300) -> str:
    """The first line of a text, cut to a readable length."""
    line = next((part.strip() for part in text.splitlines() if part.strip()), "the node does not say why")
    return line if len(line) <= longest else f"{line[:longest]}…"


def _configuration(container: ContainerFacts) -> Finding | None:
    if container.reason != "CreateContainerConfigError":
        return None
    if missing := missing_source(container.message):
        return Finding(
            reason="CreateContainerConfigError",
            message=f"container {container.name} cannot be started: {missing}",
            hint="create it in the run's namespace, or correct its name in the queue's configuration",
            patience=_CONFIG_GRACE,
        )
    as_root = "runasnonroot" in container.message.lower()
    return Finding(
        reason="CreateContainerConfigError",
        message=f"container {container.name} cannot be started: {sentence(container.message)}",
        hint="set securityContext.runAsUser, or build the image with a USER that is a number"
        if as_root
        else "",
        patience=_CONFIG_GRACE,
    )


def _creation(container: ContainerFacts) -> Finding | None:
    match container.reason:
        case "CreateContainerError" | "RunContainerError" | "PreCreateHookError" | "PreStartHookError":
            busy = any(word in container.message.lower() for word in _BUSY)
            return cannot_run(container, container.message, patience=NEVER if busy else _CREATE_GRACE)
        case "PostStartHookError":
            return Finding(
                reason="PostStartHookError",
                message=f"the postStart hook of container {container.name} failed",
                patience=_CREATE_GRACE,
            )
    return None


def _crashes(pod: PodFacts, container: ContainerFacts) -> Finding | None:
    """A container that ends and is started again. Jobs count that themselves; for every other owner nobody
    would ever stop it."""
    if container.reason != "CrashLoopBackOff":
        return None
    code = f" with exit code {container.last_code}" if container.last_code is not None else ""
    counted = pod.owner[0] == "Job"
    init = "init container" if container.role is Role.INIT else "container"
    killed = container.last_reason == "OOMKilled"
    return Finding(
        reason="OOMKilled" if killed else "CrashLoopBackOff",
        message=f"{init} {container.name} ends{code} again and again, and is started again"
        + (": it uses more memory than it may" if killed else ""),
        hint="see the run's log; restartPolicy Never ends a run at its first failure",
        patience=0 if container.restarts >= CRASHES and not counted else NEVER,
        exit_code=container.last_code,
    )
