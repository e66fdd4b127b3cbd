"""Whether the platform took a pod's place away: preemption, eviction, a node that went.

Kubernetes says so by the pod's condition DisruptionTarget (k8s.io/api core/v1; the reasons are those of
kube-scheduler, the taint manager, the eviction API, the pod garbage collector and the kubelet), Kueue by
TerminationTarget. A pod that used more storage than its own limit is "Evicted" as well, but gets no such
condition: that is the run's own failure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from launch_agent.runners.kubernetes.diagnosis.finding import Finding
from launch_agent.runners.kubernetes.diagnosis.waiting import sentence
from launch_agent.runners.kubernetes.facts import Condition, EventFacts, PodFacts

# The condition's reason: our reason, and what happened ({node} is the pod's node).
_TARGETED = {
    "PreemptionByScheduler": ("Preempted", "a pod of higher priority took the run's place on node {node}"),
    "DeletionByTaintManager": (
        "Evicted",
        "the run was evicted from node {node}, which was tainted NoExecute",
    ),
    "DeletionByDeviceTaintManager": ("Evicted", "the run was evicted: a device of node {node} was tainted"),
    "EvictionByEvictionAPI": ("Evicted", "the run was evicted from node {node}, which is being drained"),
    "DeletionByPodGC": ("NodeLost", "the run's node {node} does not exist any more"),
}
# The pod's own reason, where the kubelet or the node controller ended or refused it.
_REASONS = {
    "NodeLost": ("NodeLost", "the run's node {node} does not answer any more"),
    "Preempting": ("Preempted", "a critical pod took the run's place on node {node}"),
    "Terminated": ("NodeShutdown", "the run's node {node} was shut down"),
    "Shutdown": ("NodeShutdown", "the run's node {node} was shut down"),
    "NodeShutdown": ("NodeShutdown", "the run's node {node} is being shut down and took it no more"),
    "UnexpectedAdmissionError": ("NodeRejected", "node {node} could not take the run that was given to it"),
}
_HINT = "nothing was wrong with the run: it can be started again"
# Before Kubernetes 1.26 the condition is not there; these words are said of the node, not of the pod.
_PRESSURE = re.compile(r"the node (?:was low on resource|had condition)", re.IGNORECASE)
_EVENTS = {
    "Preempted": ("Preempted", "a pod of higher priority took the run's place"),
    "Preempting": ("Preempted", "a critical pod took the run's place"),
    "TaintManagerEviction": ("Evicted", "the run was evicted from its node, which was tainted NoExecute"),
    "Evict": ("Preempted", "the scheduler took the run's place back"),
}
# A container that ended in the same second may have been ended by it: times have no fractions.
_SLACK = 1.0
# How long before a run's end an event may be that tells of it: the longest usual grace period of a pod.
_RECENT = 600.0


def explain(pod: PodFacts) -> Finding | None:
    """That the pod was taken away; None where it was not, or had failed by itself before."""
    found = _by_conditions(pod) or _by_reason(pod)
    return None if found is None or _failed_before(pod, found.since) else found


def by_events(events: Sequence[EventFacts], until: float) -> Finding | None:
    """The same by the events of pods that are gone, where one tells of it shortly before `until`."""
    for event in events:
        recent = until - _RECENT <= (event.last or 0) <= until + _SLACK
        cancelled = event.message.startswith("Cancelling")
        if event.about[0] != "Pod" or not recent or cancelled:
            continue
        if event.reason in _EVENTS:
            reason, message = _EVENTS[event.reason]
        elif event.reason == "Evicted" and _PRESSURE.search(event.message):
            reason, message = "Evicted", f"the run was evicted: {sentence(event.message)}"
        else:
            continue
        return Finding(reason=reason, message=message, hint=_HINT, preempted=True, since=event.last)
    return None


def _by_conditions(pod: PodFacts) -> Finding | None:
    target = pod.condition("DisruptionTarget")
    if target is not None and target.holds:
        if target.reason in _TARGETED:
            return _taken(pod, *_TARGETED[target.reason], target.since)
        if pod.reason in _REASONS:
            return _taken(pod, *_REASONS[pod.reason], target.since)
        if "shut" in target.message.lower():
            return _taken(pod, *_REASONS["Shutdown"], target.since)
        return _taken(pod, "Evicted", f"the run was evicted: {sentence(target.message)}", target.since)
    return _by_queue(pod)


def _by_queue(pod: PodFacts) -> Finding | None:
    """Kueue and Volcano stop pods by deleting them, and note it first."""
    stopped = pod.condition("TerminationTarget")
    if stopped is not None and stopped.holds and "Deleted" not in stopped.reason:
        return _queue(pod, "Kueue", stopped)
    ready = pod.condition("Ready")
    if pod.deleted is not None and ready is not None and ready.reason == "Evict":
        return _queue(pod, "Volcano", ready)
    return None


def _queue(pod: PodFacts, who: str, condition: Condition) -> Finding:
    detail = f": {sentence(condition.message)}" if condition.message else ""
    return _taken(pod, "Preempted", f"{who} took the run's quota back{detail}", condition.since)


def _by_reason(pod: PodFacts) -> Finding | None:
    if pod.phase == "Succeeded":
        return None
    if pod.reason in _REASONS:
        return _taken(pod, *_REASONS[pod.reason], None)
    if pod.reason == "Evicted" and _PRESSURE.search(pod.message):
        return _taken(pod, "Evicted", f"the run was evicted: {sentence(pod.message)}", None)
    # OutOfcpu, OutOfmemory, OutOfpods, OutOfnvidia.com/gpu: another pod was faster on that node.
    if pod.reason.startswith("OutOf") and pod.phase == "Failed":
        return _taken(pod, "NodeRejected", "node {node} was full when the run arrived there", None)
    return None


def _taken(pod: PodFacts, reason: str, message: str, since: float | None) -> Finding:
    main = pod.main_container
    return Finding(
        reason=reason,
        message=message.replace("{node}", pod.node or "(unknown)"),
        hint=_HINT,
        preempted=True,
        exit_code=main.exit_code if main else None,
        since=since,
    )


def _failed_before(pod: PodFacts, since: float | None) -> bool:
    """Whether the run's container had ended badly by the time that its pod was taken."""
    main = pod.main_container
    if main is None or since is None or main.ended is None or not main.exit_code:
        return False
    return main.ended < since - _SLACK
