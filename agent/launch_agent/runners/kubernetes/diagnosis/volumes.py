"""Why a pod that has a node does not start there: volumes and the network, of which only events tell."""

from __future__ import annotations

import re
from collections.abc import Sequence

from launch_agent.runners.kubernetes.diagnosis.finding import NEVER, Finding
from launch_agent.runners.kubernetes.diagnosis.waiting import missing_source, sentence
from launch_agent.runners.kubernetes.facts import EventFacts, PodFacts, Progress

# As for a Secret that an environment variable needs (`waiting`).
_GRACE = 60.0
_MOUNT = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
_VOLUME = re.compile(r"volume \"([^\"]+)\"|unmounted volumes=\[([^\]]+)\]")
_NO_KEY = re.compile(r"references non-existent (?P<kind>secret|config) key: (?P<key>\S+)")
_CLAIM = re.compile(r"persistentvolumeclaim \"(?P<name>[^\"]+)\" not found", re.IGNORECASE)


def explain(pod: PodFacts, events: Sequence[EventFacts]) -> Finding | None:
    """What the node cannot prepare for the pod; None where a container has come so far as to begin."""
    if not pod.node or any(one.has_begun or one.progress is Progress.RUNNING for one in pod.containers):
        return None
    mine = sorted(
        (one for one in events if one.warning and one.about[2] == pod.uid),
        key=lambda one: one.last or 0,
        reverse=True,
    )
    mounts = [one for one in mine if one.reason in _MOUNT]
    # The kubelet tells the cause first, and then only that it has waited for it.
    told = next((one for one in mounts if _cause(one.message)), None)
    if told or mounts:
        return _mount(told or mounts[0])
    sandbox = next((one for one in mine if one.reason == "FailedCreatePodSandBox"), None)
    if sandbox is None:
        return None
    return Finding(
        reason="PodSandboxFailed",
        message=f"the node {pod.node} cannot prepare the pod: {sentence(sandbox.message)}",
        hint="see to the node's network plugin and container runtime",
        since=sandbox.first,
    )


def _mount(event: EventFacts) -> Finding:
    found = _VOLUME.search(event.message)
    volume = (found[1] or found[2]) if found else ""
    cause = _cause(event.message)
    return Finding(
        reason="FailedMount",
        message=f"the volume {volume or 'of the run'} cannot be mounted: {cause or sentence(event.message)}",
        hint="create it in the run's namespace, or correct its name in the queue's configuration"
        if cause
        else "see to the volume and its storage driver",
        patience=_GRACE if cause else NEVER,
        since=event.first,
    )


def _cause(text: str) -> str:
    """What is missing, where the text names it."""
    if found := _NO_KEY.search(text):
        kind = "Secret" if found["kind"] == "secret" else "ConfigMap"
        return f'its {kind} has no key "{found["key"]}"'
    if found := _CLAIM.search(text):
        return f'PersistentVolumeClaim "{found["name"]}" does not exist'
    return missing_source(text)
