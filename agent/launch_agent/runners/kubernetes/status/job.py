"""batch/v1 Job: its conditions decide, and nothing else.

A failed pod is not the end while the backoff limit allows another, and a pod that succeeded is not while more
completions are wanted. SuccessCriteriaMet and FailureTarget announce the end; Complete and Failed follow when
the last pod is gone (k8s.io/api batch/v1 types.go, JobConditionType; kubernetes pkg/controller/job).
"""

from __future__ import annotations

from launch_agent.runners.kubernetes.facts import WorkloadFacts
from launch_agent.runners.kubernetes.status.model import Observed
from launch_agent.spec.model import RunState


def observe(workload: WorkloadFacts) -> Observed:
    for type_, state in (("Complete", RunState.FINISHED), ("Failed", RunState.FAILED)):
        found = workload.condition(type_)
        if found is not None and found.holds:
            if state is RunState.FINISHED:
                return Observed(state=state, since=found.since)
            return Observed(state=state, reason=found.reason, message=found.message, since=found.since)
    for type_ in ("SuccessCriteriaMet", "FailureTarget"):
        found = workload.condition(type_)
        if found is not None and found.holds:
            return Observed(state=RunState.RUNNING)
    # A pod that is ready runs; one that ended did. `active` counts pods that wait for a node as well.
    if workload.count("ready") or workload.count("succeeded") or workload.count("failed"):
        return Observed(state=RunState.RUNNING)
    return Observed(state=RunState.PENDING)
