"""v1 Pod: its phase decides.

A pod's phase stays Running while it is deleted gracefully, and Unknown where its node does not answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from launch_agent.runners.kubernetes.facts import PodFacts, WorkloadFacts
from launch_agent.runners.kubernetes.status.model import Observed
from launch_agent.spec.model import RunState


def observe(workload: WorkloadFacts, pods: Sequence[PodFacts]) -> Observed:
    """`pods` holds the same pod once more, with its containers, where it is known."""
    facts = next((one for one in pods if one.uid == workload.uid), None)
    main = facts.main_container if facts else None
    code = main.exit_code if main else None
    match workload.value("phase"):
        case "Succeeded":
            return Observed(state=RunState.FINISHED, exit_code=code)
        case "Failed":
            return Observed(
                state=RunState.FAILED,
                reason=workload.value("reason"),
                message=workload.value("message") or "the pod failed",
                exit_code=code,
                since=main.ended if main else None,
            )
        case "Running" | "Unknown":
            return Observed(state=RunState.RUNNING)
    return Observed(state=RunState.PENDING)
