"""Where a Job or a Pod is: only the conditions that end it end it."""

from __future__ import annotations

from typing import Any

import pytest

from launch_agent.runners.kubernetes import facts, status
from launch_agent.spec.model import RunState

FAILED_POD = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too many"}


def job(found: dict[str, Any], **spec: Any) -> status.Observed:
    obj = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec, "status": found}
    return status.observe(facts.workload(obj))


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ({}, RunState.PENDING),
        ({"active": 1}, RunState.PENDING),
        ({"active": 1, "ready": 1}, RunState.RUNNING),
        ({"active": 1, "failed": 2}, RunState.RUNNING),
        ({"active": 2, "succeeded": 2}, RunState.RUNNING),
        ({"conditions": [{"type": "SuccessCriteriaMet", "status": "True"}]}, RunState.RUNNING),
        ({"conditions": [{"type": "FailureTarget", "status": "True"}], "failed": 1}, RunState.RUNNING),
        ({"conditions": [{"type": "Complete", "status": "True"}], "failed": 1}, RunState.FINISHED),
        ({"conditions": [FAILED_POD], "succeeded": 3}, RunState.FAILED),
        ({"conditions": [{"type": "Failed", "status": "False"}]}, RunState.PENDING),
    ],
)
def test_a_jobs_conditions_decide(found: dict[str, Any], state: RunState) -> None:
    assert job(found, backoffLimit=3, completions=4).state is state


def test_a_suspended_job_waits_and_says_for_what() -> None:
    observed = job({"conditions": [{"type": "Suspended", "status": "True"}]}, suspend=True)
    assert (observed.state, observed.held, observed.reason) == (RunState.PENDING, True, "Suspended")
