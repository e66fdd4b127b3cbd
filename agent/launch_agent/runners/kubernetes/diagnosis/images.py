"""Why an image cannot be pulled: the kubelet's reason, and what the container runtime quotes of the registry.

The reasons are those of kubernetes pkg/kubelet/images/types.go and k8s.io/cri-api pkg/errors. What is wrong
stands in the text only, in the words of containerd, CRI-O or the registry itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launch_agent.runners.kubernetes.diagnosis.finding import Finding
from launch_agent.runners.kubernetes.facts import ContainerFacts, EventFacts, PodFacts

# A registry that replicates, or a pull secret that is still being written, is there within seconds.
GRACE = 30.0
# A registry that is down is so for all jobs, and comes back: as long as a launch waits for one.
_OUTAGE = 300.0
_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """`words` are looked for in the lower-case text, the first cause that has one of them counts."""

    reason: str
    what: str
    hint: str
    patience: float
    words: tuple[str, ...]


# Docker Hub answers "pull access denied" for what is absent too, so as not to tell strangers what exists.
_CAUSES: tuple[_Cause, ...] = (
    _Cause(
        reason="ImageDenied",
        what="the registry does not let the cluster have it",
        hint="check the name; if the image is private, give the run an image pull secret that opens it",
        patience=GRACE,
        words=(
            "denied", "unauthorized", "authentication required", "no basic auth", "forbidden",
            "authorization failed", "insufficient_scope",
        ),
    ),
    _Cause(
        reason="ImagePlatformMismatch",
        what="it was not built for the processor of the node",
        hint="build the image for the nodes' platform, or choose nodes that it was built for (nodeSelector)",
        patience=GRACE,
        words=("no match for platform", "no matching manifest", "no image found in image index"),
    ),
    _Cause(
        reason="RegistryLimit",
        what="the registry limits how often it is asked",
        hint="give the run an image pull secret with its own limit, or pull through a mirror",
        patience=_OUTAGE,
        words=("toomanyrequests", "too many requests", "rate limit"),
    ),
    _Cause(
        reason="NodeDiskFull",
        what="the node has no room for it",
        hint="the image is larger than what the node has free: use a smaller image or larger disks",
        patience=_OUTAGE,
        words=("no space left on device",),
    ),
    _Cause(
        reason="ImageNotFound",
        what="the registry has no such image",
        hint="check the image's name and tag",
        patience=GRACE,
        words=(
            "not found", "manifest unknown", "name unknown", "does not exist", "repository name not known",
        ),
    ),
    _Cause(
        reason="RegistryUnreachable",
        what="the registry does not answer the node",
        hint="can the cluster's nodes reach the registry, and do they trust its certificate?",
        patience=_OUTAGE,
        words=(
            "connection refused", "no such host", "timeout", "deadline exceeded", "network is unreachable",
            "no route", "server gave http response", "tls", "x509", "eof", "connection reset",
            "registry is unavailable", "500 internal", "502 bad", "503 service", "504 gateway",
        ),
    ),
)  # fmt: skip


def explain(pod: PodFacts, container: ContainerFacts, events: Sequence[EventFacts]) -> Finding | None:
    """What keeps a waiting container without its image; None where the image is not the trouble."""
    image = container.image
    match container.reason:
        case "InvalidImageName":
            return Finding(
                reason="InvalidImageName",
                message=f"{image!r} is not the name of an image",
                hint="a name is [registry/]repository[:tag] in lower case, without a scheme",
                patience=0,
            )
        case "ErrImageNeverPull":
            return Finding(
                reason="ImageNotPresent",
                message=f"the image {image} is not on the node, and the pull policy is Never",
                hint="set imagePullPolicy to IfNotPresent",
                patience=GRACE,
            )
        case "SignatureValidationFailed":
            return Finding(
                reason="ImageSignatureInvalid",
                message=f"the signature of the image {image} is not valid",
                hint="use an image that is signed as the cluster's nodes demand it",
                patience=GRACE,
            )
        case reason if reason in _PULLING:
            return _pulling(pod, container, events)
    return None


def _pulling(pod: PodFacts, container: ContainerFacts, events: Sequence[EventFacts]) -> Finding:
    failed = [one for one in events if _is_pull_of(one, pod, container.image)]
    since = min((one.first for one in failed if one.first is not None), default=None)
    # Before Kubernetes 1.32 the back-off does not repeat why the pull failed; the event has it.
    latest = max(failed, key=lambda one: one.last or 0, default=None)
    text = f"{container.message} {latest.message if latest else ''}".replace(container.image, "").lower()
    for cause in _CAUSES:
        if any(re.search(rf"(?<![a-z]){re.escape(word)}", text) for word in cause.words):
            return Finding(
                reason=cause.reason,
                message=f"the image {container.image} cannot be pulled: {cause.what}",
                hint=cause.hint,
                patience=cause.patience,
                since=since,
            )
    return Finding(
        reason="ImagePullError",
        message=f"the image {container.image} cannot be pulled",
        hint=f"`kubectl -n {pod.namespace} describe pod {pod.name}` shows what the registry said",
        patience=GRACE,
        since=since,
    )


def _is_pull_of(event: EventFacts, pod: PodFacts, image: str) -> bool:
    return event.reason == "Failed" and event.about[2] == pod.uid and f'pull image "{image}"' in event.message
