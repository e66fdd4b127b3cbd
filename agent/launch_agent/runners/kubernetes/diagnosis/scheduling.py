"""Why no node takes a pod: the scheduler's histogram of reasons, told without its numbers.

The numbers change with every node that comes and goes, and each new text would be one more warning. The words
are those of kubernetes pkg/scheduler/framework (types.go, FitError) and its plugins.
"""

from __future__ import annotations

import re

from launch_agent.runners.kubernetes.diagnosis.finding import Finding
from launch_agent.runners.kubernetes.facts import PodFacts

_GPU = "the cluster has too few free GPUs, or none: ask for fewer, or let it grow"
# Pattern in the scheduler's text, what it means (\1 is the pattern's group), what to change.
_CAUSES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), what, hint)
    for pattern, what, hint in (
        (r"Insufficient (\S+\.\S+/\S*gpu\S*|\S+/gpu\S*)", r"too little \1", _GPU),
        (
            r"Insufficient ([^\s,.]+(?:\.[^\s,.]+)*)",
            r"too little \1",
            "ask for less, or let the cluster grow",
        ),
        (r"Too many pods", "no room for more pods", "let the cluster grow"),
        (
            r"untolerated taint(?:\(s\)|s)? ?\{?([^},]*)|had taints that the pod didn't tolerate",
            r"a taint that it does not tolerate \1",
            "add a toleration, if jobs of this queue may use those nodes",
        ),
        (
            r"didn't match Pod's node affinity/selector|didn't match the requested node name",
            "none that fits its node selector or affinity",
            "check nodeSelector and affinity against the labels of the nodes",
        ),
        (
            r"pod (?:anti-)?affinity rules|topology spread",
            "none that fits its pod affinity or topology spread",
            "check affinity and topologySpreadConstraints",
        ),
        (r"were unschedulable", "cordoned nodes", "uncordon nodes, or let the cluster grow"),
        (
            r"persistentvolumeclaim \"([^\"]+)\" not found",
            r"a volume claim \1 that does not exist",
            "create the PersistentVolumeClaim in the run's namespace",
        ),
        (
            r"unbound immediate PersistentVolumeClaims|available persistent volumes to bind"
            r"|volume node affinity conflict|no available volume zone|PersistentVolume's node affinity",
            "a volume that cannot be had there",
            "check the storage class and the zone of the volume",
        ),
        (r"exceed max volume count", "no room for more volumes", "use fewer volumes"),
        (r"didn't have free ports", "its host ports are in use", "do not ask for host ports"),
        (
            r"resourceclaim|cannot allocate all claims",
            "a device that cannot be had",
            "check the resource claim against the devices of the nodes",
        ),
        (r"no nodes available|0/0 nodes", "no node at all", "let the cluster grow"),
    )
)


def explain(pod: PodFacts) -> Finding | None:
    """That no node takes the pod; None where it has a node, or nobody has looked yet."""
    scheduled = pod.condition("PodScheduled")
    if scheduled is None or scheduled.status != "False" or pod.node:
        return None
    if scheduled.reason not in ("Unschedulable", "SchedulerError"):
        return None
    # What follows is about preempting others, in the same words.
    text = re.split(r"\bpreemption:|\bno new claims", scheduled.message)[0]
    whats: dict[str, str] = {}
    for pattern, what, hint in _CAUSES:
        for found in pattern.finditer(text):
            whats.setdefault(found.expand(what).strip(), hint)
    if not whats:
        first = text.strip().splitlines()[0][:300] if text.strip() else "the scheduler does not say why"
        return Finding(
            reason="Unschedulable", message=f"no node takes the run's pod: {first}", since=scheduled.since
        )
    return Finding(
        reason="Unschedulable",
        message=f"no node takes the run's pod: {', '.join(whats)}",
        hint="; ".join(dict.fromkeys(whats.values())),
        since=scheduled.since,
    )
