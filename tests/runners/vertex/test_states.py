"""What the API's states, failures and refusals mean, and what a user is told to change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launch_agent.clients.http import Response
from launch_agent.errors import RightMissing, RunnerError, SubmitRejected
from launch_agent.runners.vertex import refusals
from launch_agent.runners.vertex.states import LIVE, PREFIX, status_of
from launch_agent.spec.model import RunState
from tools import vertex_api


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("QUEUED", RunState.PENDING),
        ("PENDING", RunState.STARTING),
        ("RUNNING", RunState.RUNNING),
        ("SUCCEEDED", RunState.FINISHED),
        ("FAILED", RunState.FAILED),
        ("CANCELLING", RunState.STOPPING),
        ("CANCELLED", RunState.STOPPED),
        ("PAUSED", RunState.RUNNING),
        ("EXPIRED", RunState.FAILED),
        ("UPDATING", RunState.RUNNING),
        ("PARTIALLY_SUCCEEDED", RunState.FAILED),
        ("UNSPECIFIED", RunState.PENDING),
        ("OF_A_LATER_API", RunState.PENDING),
    ],
)
def test_every_state_of_the_api_is_one_of_ours(state: str, expected: RunState) -> None:
    found = status_of({"state": f"{PREFIX}{state}"})
    assert found.state is expected
    assert found.state is not RunState.FAILED or found.reason
    assert found.held is (state == "QUEUED")


def test_no_state_of_the_description_is_forgotten() -> None:
    document = json.loads(vertex_api.DOCUMENT.read_text(encoding="utf-8"))
    states = document["schemas"]["GoogleCloudAiplatformV1CustomJob"]["properties"]["state"]["enum"]
    ends = {state for state in states if status_of({"state": state}).state.is_terminal}
    assert {state.removeprefix(PREFIX) for state in set(states) - ends} == {*LIVE, "UNSPECIFIED"}


AGENT = "service-1@gcp-sa-aiplatform.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("message", "code", "reason", "hint"),
    [
        ("The replica workerpool0-0 exited with a non-zero status of 7.", 3, "Error", ""),
        ("The replica workerpool0-0 exited with a non-zero status of 137.", 3, "Killed", "memory"),
        ("Quota exceeded for custom_model_training_nvidia_a100_gpus", 8, "QuotaExceeded", "higher quota"),
        (
            "Resources are insufficient in region: us-central1. Please try a different region",
            8,
            "NoCapacity",
            "region",
        ),
        ("Failed to pull image europe-docker.pkg.dev/x: not found", 5, "ImagePullError", "downloadArtifacts"),
        (
            f"Permission denied for service agent {AGENT}",
            7,
            "ServiceAgentDenied",
            "roles/aiplatform.serviceAgent",
        ),
        ("Replica ran out of memory", 8, "OOMKilled", "more memory"),
        ("403 storage.objects.create access denied", 7, "PermissionDenied", "service account"),
        ("Internal error occurred", 13, "InternalError", ""),
        ("", 8, "QuotaExceeded", ""),
        ("", 0, "Failed", ""),
    ],
)
def test_why_a_job_failed_is_told_apart(message: str, code: int, reason: str, hint: str) -> None:
    found = status_of({"state": "JOB_STATE_FAILED", "error": {"code": code, "message": message}})
    assert found.reason == reason
    assert (message or "no reason") in found.message
    assert hint in found.hint


def answer(status: int, message: str, word: str = "", details: Any = ()) -> Response:
    error = {"code": status, "message": message, "status": word, "details": list(details)}
    return Response(status=status, headers={}, body=json.dumps({"error": error}).encode())


@pytest.mark.req("VTX-1")
@pytest.mark.parametrize(
    ("message", "kind", "hint"),
    [
        (
            "Permission 'aiplatform.customJobs.create' denied on resource '//aiplatform.googleapis.com/x'",
            RightMissing,
            "aiplatform.customJobs.create",
        ),
        (
            "Caller does not have storage.objects.create access to the bucket",
            RightMissing,
            "storage.objects.create",
        ),
        (
            "You do not have permission to act as service account: trainer@p.iam (or it may not exist).",
            SubmitRejected,
            "iam.serviceAccounts.actAs",
        ),
        (f"The service agent {AGENT} lacks access", SubmitRejected, "roles/aiplatform.serviceAgent"),
        ("The caller does not have permission", RightMissing, "roles/aiplatform.user"),
    ],
)
def test_the_missing_permission_is_named(message: str, kind: type[RunnerError], hint: str) -> None:
    found = refusals.refused("create custom job x", answer(403, message, "PERMISSION_DENIED"))
    assert type(found) is kind
    assert hint in found.hint
    assert found.retryable is (kind is RightMissing)  # what the queue's own words ask for, no wait grants


def test_an_api_that_is_off_is_said_to_be() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]
    found = refusals.refused("list", answer(403, "Vertex AI API has not been used", details=details))
    assert "enable the API" in found.hint


def test_a_refused_field_is_named_and_no_secret_is() -> None:
    secret = 'hush"hush'
    details = [{"fieldViolations": [{"field": "job_spec", "description": f"bad: {secret}"}]}]
    message = f"Invalid value {json.dumps(secret)} and {secret} at 'job_spec.env'"
    found = refusals.refused("create", answer(400, message, "INVALID_ARGUMENT", details), [secret])
    assert type(found) is SubmitRejected
    assert "job_spec: bad" in found.message
    assert "hush" not in str(found)


@pytest.mark.parametrize("status", [401, 408, 409, 429, 500, 502, 503, 504])
def test_what_passes_is_told_from_what_stays(status: int) -> None:
    assert refusals.refused("create", answer(status, "come back")).retryable
    assert not refusals.refused("create", answer(400, "no")).retryable
    assert refusals.refused("create", Response(status=502, headers={}, body=b"<html>")).retryable
