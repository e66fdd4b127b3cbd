"""What a description says of a job, and what the services' refusals mean."""

from __future__ import annotations

from typing import Any

import pytest

from launch_agent.errors import RightMissing, RunnerError, SubmitRejected
from launch_agent.runners.sagemaker import refusals
from launch_agent.runners.sagemaker.states import failure, status_of
from launch_agent.spec.model import RunState
from tests.fakes import aws_model


@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        ("InProgress", "Pending", RunState.PENDING),
        ("InProgress", "Starting", RunState.STARTING),
        ("InProgress", "LaunchingMLInstances", RunState.STARTING),
        ("InProgress", "PreparingTrainingStack", RunState.STARTING),
        ("InProgress", "Downloading", RunState.STARTING),
        ("InProgress", "DownloadingTrainingImage", RunState.STARTING),
        ("InProgress", "Training", RunState.RUNNING),
        ("InProgress", "Updating", RunState.RUNNING),
        ("InProgress", "Uploading", RunState.RUNNING),
        ("InProgress", "Interrupted", RunState.PENDING),
        ("InProgress", "Restarting", RunState.PENDING),
        ("InProgress", "OfALaterRelease", RunState.RUNNING),
        ("Completed", "Completed", RunState.FINISHED),
        ("Failed", "Failed", RunState.FAILED),
        ("Stopping", "Stopping", RunState.STOPPING),
        ("Stopped", "Stopped", RunState.STOPPED),
        ("Stopped", "MaxRuntimeExceeded", RunState.FAILED),
        ("Stopped", "MaxWaitTimeExceeded", RunState.FAILED),
        ("Deleting", "", RunState.STOPPING),
    ],
)
def test_every_status_is_one_of_ours(status: str, detail: str, expected: RunState) -> None:
    assert status_of({"TrainingJobStatus": status, "SecondaryStatus": detail}).state is expected


def test_no_status_of_the_api_is_left_out() -> None:
    """Each that the model lists is told apart, and nothing is an end that is none."""
    model = aws_model.model("sagemaker")
    ends = {"Completed", "Failed", "Stopped"}
    for status in model.shape_for("TrainingJobStatus").enum:
        for detail in model.shape_for("SecondaryStatus").enum:
            seen = status_of({"TrainingJobStatus": status, "SecondaryStatus": detail})
            assert seen.state.is_terminal is (status in ends), (status, detail)


def test_a_job_that_was_stopped_has_not_run_out_of_time() -> None:
    row = {"TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"}
    assert status_of(row, is_cancelled=True).state is RunState.STOPPED
    assert "MaxRuntimeInSeconds" in status_of(row).hint


def test_waiting_for_capacity_is_no_start_that_lasts_too_long() -> None:
    seen = status_of({"TrainingJobStatus": "InProgress", "SecondaryStatus": "Pending"})
    assert seen.held
    assert "capacity" in seen.message


@pytest.mark.parametrize(
    ("said", "reason", "code"),
    [
        ("AlgorithmError: ExecuteUserScriptError: exit code: 7", "Error", 7),
        ("AlgorithmError: ExecuteUserScriptError:\nExitCode 3\nErrorMessage x", "Error", 3),
        ("AlgorithmError: , exit code: 137", "Killed", 137),
        ("CapacityError: Unable to provision requested ML compute capacity", "NoCapacity", None),
        ("ClientError: Data download failed: Access denied to S3 bucket x", "StorageDenied", None),
        ("ClientError: Cannot pull the training image, it was not found", "ImagePullError", None),
        ("ClientError: Please use an instance type with more memory, or out of memory", "OOMKilled", None),
        ("ClientError: KMS key is disabled", "KeyDenied", None),
        ("ClientError: Could not assume the role arn:aws:iam::1:role/x", "RoleNotAssumable", None),
        ("InternalServerError: We encountered an internal error", "InternalServerError", None),
        ("", "Failed", None),
    ],
)
def test_why_a_job_failed_is_told_apart(said: str, reason: str, code: int | None) -> None:
    found = failure(said)
    assert (found.state, found.reason, found.exit_code) == (RunState.FAILED, reason, code)
    assert " ".join(said.split()) in found.message


def answer(code: str, message: str, status: int = 400) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.req("SM-1")
@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("sagemaker:CreateTrainingJob", RightMissing),
        ("sagemaker:ListTags", RightMissing),
        ("iam:PassRole", SubmitRejected),
        ("kms:CreateGrant", SubmitRejected),
    ],
)
def test_a_missing_permission_is_named(action: str, kind: type[RunnerError]) -> None:
    """What the queue itself asks for is refused at once; the agent's own rights may come late."""
    said = f"User: arn:aws:iam::1:user/x is not authorized to perform: {action} on resource: arn:aws:x"
    error = refusals.refused("create training job x", answer("AccessDeniedException", said))
    assert type(error) is kind
    assert action in error.hint


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 400),
        ("RequestLimitExceeded", 503),
        ("ExpiredTokenException", 400),
        ("UnrecognizedClientException", 400),
        ("InternalFailure", 500),
        ("ServiceUnavailable", 503),
        ("SomethingNew", 502),
        ("ResourceLimitExceeded", 400),
    ],
)
def test_what_passes_may_be_tried_again(code: str, status: int) -> None:
    error = refusals.refused("list training jobs", answer(code, "later", status))
    assert type(error) is RunnerError
    assert error.retryable


def test_a_quota_that_no_wait_makes_large_enough_fails_the_job() -> None:
    said = (
        "The account-level service limit 'ml.p4d.24xlarge for training job usage' is {} Instances, with "
        "current utilization of {} Instances and a request delta of 2 Instances. Please ask AWS"
    )
    never = refusals.refused("create", answer("ResourceLimitExceeded", said.format(0, 0)))
    later = refusals.refused("create", answer("ResourceLimitExceeded", said.format(4, 3)))
    assert (type(never), never.retryable) == (SubmitRejected, False)
    assert (type(later), later.retryable) == (RunnerError, True)


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Could not assume role arn:aws:iam::1:role/x", "trust policy"),
        ("The KMS key does not exist", "its policy must let"),
        ("The image is not in ECR", "TrainingImage"),
        ("Bucket is in another region: s3://x", "the job's region"),
    ],
)
def test_a_refusal_says_what_to_change(said: str, hint: str) -> None:
    error = refusals.refused("create", answer("ValidationException", said))
    assert isinstance(error, SubmitRejected)
    assert hint in error.hint


def test_no_variable_is_in_what_the_service_says() -> None:
    said = (
        "1 validation error detected: Value '{WANDB_API_KEY=hush-hush, B=theirs'\n}' at 'environment' failed "
        "to satisfy constraint: Map value must have length less than or equal to 512"
    )
    error = refusals.refused("create", answer("ValidationException", said))
    assert "hush" not in str(error)
    assert "theirs" not in str(error)
    assert "512" in str(error)
    other = refusals.refused("create", answer("ValidationException", "odd: hush-hush"), ["hush-hush"])
    assert "hush" not in str(other)
