"""Tells whether a queueing controller (Kueue, Volcano's queues, an admin's `suspend`) keeps a run back.

Kueue suspends what it queues and sets `suspend: false` when the quota is there; it evicts by suspending
again. Neither is a failure, and the time does not count against the start timeout.
"""

from __future__ import annotations

from collections.abc import Sequence

from launch_agent.runners.kubernetes.facts import PodFacts, WorkloadFacts
from launch_agent.runners.kubernetes.status.model import Observed
from launch_agent.spec.model import RunState

WAITING = "the run waits for quota"


def observe(workload: WorkloadFacts, pods: Sequence[PodFacts]) -> Observed | None:
    """That the run is held back, or None where it is not."""
    if workload.suspend:
        return _suspended(workload)
    reserved = workload.condition("QuotaReserved")
    if reserved is not None and not reserved.holds:
        return _held("WaitingForQuota", WAITING, reserved.message)
    living = [one for one in pods if not one.has_ended]
    if living and all(one.gates for one in living):
        names = ", ".join(sorted({gate for one in living for gate in one.gates}))
        return _held("WaitingForQuota", f"the run's pods wait for the scheduling gate {names}", "")
    return None


def _suspended(workload: WorkloadFacts) -> Observed:
    evicted = workload.condition("Evicted")
    if evicted is not None and evicted.holds:
        why = evicted.message or evicted.reason
        return _held("Evicted", "the run was evicted from its quota and waits for it again", why)
    if workload.queue:
        reserved, admitted = workload.condition("QuotaReserved"), workload.condition("Admitted")
        if reserved is not None and reserved.holds and admitted is not None and not admitted.holds:
            # Such as a node that has to be made first.
            message = (
                f"the run has its quota in Kueue's queue {workload.queue}, and waits for admission checks"
            )
            return _held("WaitingForAdmission", message, admitted.message)
        why = reserved.message if reserved is not None and not reserved.holds else ""
        return _held("WaitingForQuota", f"{WAITING} in Kueue's queue {workload.queue}", why)
    return _held("Suspended", "the run is suspended, and waits until its `suspend` is set to false", "")


def _held(reason: str, message: str, detail: str) -> Observed:
    return Observed(
        state=RunState.PENDING,
        held=True,
        reason=reason,
        message=f"{message}: {detail}" if detail else message,
    )
