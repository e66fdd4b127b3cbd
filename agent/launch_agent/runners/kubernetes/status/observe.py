"""Reads a run's object: the administrator's rules first, then the table of its kind, then its pods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from launch_agent.runners.kubernetes.facts import PodFacts, WorkloadFacts
from launch_agent.runners.kubernetes.status import custom, held, job, pod
from launch_agent.runners.kubernetes.status.model import Observed
from launch_agent.runners.kubernetes.status.rules import Rule
from launch_agent.spec.model import RunState


def observe(workload: WorkloadFacts, rules: Sequence[Rule] = (), pods: Sequence[PodFacts] = ()) -> Observed:
    """Where a run is. `pods` are those of the run; they tell whether it runs where its object does not.

    Never raises, whatever the object holds; what cannot be read means that the run goes on.
    """
    observed = _by_object(workload, rules, pods)
    if not observed.state.is_terminal:
        observed = _still_there(workload, observed, pods)
    return replace(observed, kind=workload.kind, retries=workload.retries)


def gone(kind: str) -> Observed:
    """The object was there and is not any more, and it is not us who removed it."""
    return Observed(
        state=RunState.FAILED,
        reason="Deleted",
        message=f"the {kind or 'object'} of the run was deleted by someone else",
        hint="what it printed last went with it",
        kind=kind,
    )


def _by_object(workload: WorkloadFacts, rules: Sequence[Rule], pods: Sequence[PodFacts]) -> Observed:
    for rule in rules:
        if rule.matches(workload):
            return Observed(
                state=rule.state,
                held=rule.held,
                message=workload.value(rule.message) or (held.WAITING if rule.held else ""),
            )
    match workload.group, workload.kind:
        case "batch", "Job":
            return job.observe(workload)
        case "", "Pod":
            return pod.observe(workload, pods)
        case _:
            return custom.observe(workload)


def _still_there(workload: WorkloadFacts, observed: Observed, pods: Sequence[PodFacts]) -> Observed:
    """What the object's own status leaves open: that it is held back, being deleted, or has begun."""
    if workload.deleted is not None:
        return Observed(state=RunState.STOPPING)
    if waiting := held.observe(workload, pods):
        return waiting
    if observed.held or observed.state.has_started:
        return observed
    if any(one.has_begun for one in pods):
        return replace(observed, state=RunState.RUNNING)
    if observed.state is RunState.PENDING and any(one.node for one in pods):
        return replace(observed, state=RunState.STARTING)
    return observed
