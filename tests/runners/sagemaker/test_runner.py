"""Training jobs against moto's server, each request judged by botocore's own model of the API.

moto ends every job at once, and stops none; what jobs do in between is told to the pure functions.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import ConfigError, RunnerError, SubmitRejected
from launch_agent.runners.sagemaker import create, refusals, tags
from launch_agent.runners.sagemaker.request import compose
from launch_agent.runners.sagemaker.runner import SageMakerRunner
from launch_agent.runners.sagemaker.service import Service
from launch_agent.runners.sagemaker.states import failure, status_of
from launch_agent.spec.model import RunIdentity, RunRequest, RunState
from launch_agent.spec.secret import Secret
from tests.fakes.moto_server import REGION, Aws, aws

EXAMPLE = Path(__file__).parents[3] / "examples" / "queue-configs" / "sagemaker.yaml"


def identity(**fields: str) -> RunIdentity:
    item = uuid.uuid4().hex
    usual = {
        "agent": "agent é",
        "item_id": item,
        "queue": "gpu queue #1",
        "queue_entity": "acme",
        "run_id": item[:8],
        "entity": "acme",
        "project": "Été 2026",
    }
    return RunIdentity(**{**usual, **fields})


def queue(**more: Any) -> dict[str, Any]:
    found = yaml.safe_load(EXAMPLE.read_text().replace('"{{instance_type}}"', "ml.g5.xlarge"))
    return {**found, **more}


def request(**fields: Any) -> RunRequest:
    usual: dict[str, Any] = {
        "identity": identity(),
        "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/jobs:1",
        "entry_point": ["python", "train.py"],
        "args": ["--lr", "0.1"],
        "env": {"WANDB_PROJECT": "p"},
        "secret_env": {"WANDB_API_KEY": Secret("hush")},
        "resource_args": queue(),
    }
    return RunRequest(**{**usual, **fields})


@pytest.fixture(scope="module")
def cloud() -> Iterator[Aws]:
    with aws() as found:
        yield found


@pytest.fixture
def runner(cloud: Aws) -> Iterator[SageMakerRunner]:
    def session() -> boto3.Session:
        return boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION)

    endpoints = {"sagemaker": cloud.url, "logs": cloud.url}
    made = SageMakerRunner(Service(session, region=REGION, endpoints=endpoints), fresh=0.0)
    made.verify()
    yield made
    made.close()


@pytest.mark.req("SM-6", "SM-7", "SM-8")
def test_a_job_is_created_followed_and_found_again(cloud: Aws, runner: SageMakerRunner) -> None:
    asked = request(identity=identity(agent=f"agent {uuid.uuid4().hex}"))
    run = runner.submit(asked)
    job = cloud.client("sagemaker").describe_training_job(TrainingJobName=run.id)
    assert job["ResourceConfig"]["InstanceType"] == "ml.g5.xlarge"
    assert job["AlgorithmSpecification"]["TrainingImage"] == asked.image
    assert run.status().state is RunState.FINISHED
    assert run.logs(10) == ""
    (found,) = runner.adopt(asked.identity.agent)
    assert (found.id, found.identity) == (run.id, asked.identity)
    run.release()
    assert runner.adopt(asked.identity.agent) == []
    assert runner.adopt("somebody else") == []


def test_the_log_is_the_end_of_every_instances(cloud: Aws, runner: SageMakerRunner) -> None:
    run = runner.submit(request())
    logs = cloud.client("logs")
    group = "/aws/sagemaker/TrainingJobs"
    now = int(time.time() * 1000) - 10_000  # the service takes nothing that is weeks old
    logs.create_log_group(logGroupName=group)
    for instance in ("algo-1", "algo-2"):
        stream = f"{run.id}/{instance}-1"
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [{"timestamp": now + n, "message": f"{instance} {n}"} for n in range(2_500)]
        for start in range(0, len(events), 1_000):
            logs.put_log_events(
                logGroupName=group, logStreamName=stream, logEvents=events[start : start + 1_000]
            )
    text = run.logs(2)
    assert text.splitlines() == [
        "==> algo-1-1 <==",
        "algo-1 2498",
        "algo-1 2499",
        "==> algo-2-1 <==",
        "algo-2 2498",
        "algo-2 2499",
    ]
    assert len(run.logs(1_500).splitlines()) == 2 * 1_501


def test_what_the_apis_model_does_not_know_is_refused(runner: SageMakerRunner) -> None:
    with pytest.raises(SubmitRejected, match="Nonsense") as refused:
        runner.submit(request(resource_args=queue(Nonsense=1, VpcConfig={"Subnets": "x"})))
    assert "SecurityGroupIds" in refused.value.message
    assert "hush" not in str(refused.value)


def test_a_request_is_the_queues_own_with_what_makes_it_this_run() -> None:
    given_tags = [{"Key": "team", "Value": "a"}]
    made = compose(request(resource_args=queue(Tags=given_tags, EnableManagedSpotTraining=True)))
    assert made["EnableManagedSpotTraining"] is True
    assert made["AlgorithmSpecification"]["ContainerEntrypoint"] == ["python", "train.py"]
    assert made["AlgorithmSpecification"]["ContainerArguments"] == ["--lr", "0.1"]
    assert made["Environment"]["WANDB_API_KEY"] == "hush"
    assert made["Tags"][0] == {"Key": "team", "Value": "a"}
    assert len(made["TrainingJobName"]) <= 63


def test_a_key_by_reference_is_no_variable() -> None:
    arn = "arn:aws:secretsmanager:us-east-1:1:secret:wandb"
    made = compose(request(), key_secret=arn)
    assert "hush" not in str(made)
    assert made["Environment"]["WANDB_API_KEY_SECRET_ARN"] == arn


def test_everything_that_is_wrong_is_named_at_once() -> None:
    args = {"ResourceConfig": {"InstanceType": "x"}, "Environment": {"LONG": "x" * 513}, "Tags": "a"}
    with pytest.raises(SubmitRejected) as refused:
        compose(request(resource_args=args))
    said = refused.value.message
    for words in ("RoleArn is missing", "InstanceCount is missing", "Environment.LONG", "Tags is no list"):
        assert words in said
    assert "hush" not in said


@given(st.builds(identity, queue=st.text(max_size=20), project=st.text(max_size=20)))
def test_an_identity_survives_its_tags(whose: RunIdentity) -> None:
    made = tags.to_tags(whose)
    assert tags.from_tags(made) == whose
    assert all(len(tag["Value"]) <= 256 for tag in made)


@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        ("InProgress", "Pending", RunState.PENDING),
        ("InProgress", "Starting", RunState.STARTING),
        ("InProgress", "Downloading", RunState.STARTING),
        ("InProgress", "Training", RunState.RUNNING),
        ("InProgress", "Uploading", RunState.RUNNING),
        ("InProgress", "Interrupted", RunState.PENDING),
        ("Completed", "Completed", RunState.FINISHED),
        ("Failed", "Failed", RunState.FAILED),
        ("Stopping", "Stopping", RunState.STOPPING),
        ("Stopped", "Stopped", RunState.STOPPED),
        ("Stopped", "MaxRuntimeExceeded", RunState.FAILED),
        ("Stopped", "MaxWaitTimeExceeded", RunState.FAILED),
    ],
)
def test_every_status_is_one_of_ours(status: str, detail: str, expected: RunState) -> None:
    assert status_of({"TrainingJobStatus": status, "SecondaryStatus": detail}).state is expected


@pytest.mark.parametrize(
    ("said", "reason", "code"),
    [
        ("AlgorithmError: ExecuteUserScriptError: exit code: 7", "Error", 7),
        ("CapacityError: Unable to provision requested ML compute capacity", "NoCapacity", None),
        ("ClientError: Data download failed: Access denied to S3 bucket x", "StorageDenied", None),
        ("ClientError: Cannot pull the training image, it was not found", "ImagePullError", None),
        ("InternalServerError: We encountered an internal error", "InternalServerError", None),
    ],
)
def test_why_a_job_failed_is_told_apart(said: str, reason: str, code: int | None) -> None:
    found = failure(said)
    assert (found.reason, found.exit_code) == (reason, code)
    assert said in found.message


def _answer(code: str, message: str, status: int = 400) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.req("SM-1", "SM-3", "SM-4", "SM-5")
@pytest.mark.parametrize("action", ["sagemaker:CreateTrainingJob", "iam:PassRole", "kms:CreateGrant"])
def test_a_missing_permission_is_named(action: str) -> None:
    said = f"User: arn:aws:iam::1:user/x is not authorized to perform: {action} on resource: arn:aws:x"
    error = refusals.refused("create training job x", _answer("AccessDeniedException", said))
    assert isinstance(error, SubmitRejected)
    assert action in error.hint


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ExpiredTokenException", "InternalFailure", "ResourceLimitExceeded"]
)
def test_what_passes_may_be_tried_again(code: str) -> None:
    error = refusals.refused("list training jobs", _answer(code, "later"))
    assert type(error) is RunnerError
    assert error.retryable


def test_without_aws_there_is_no_runner() -> None:
    with pytest.raises(ConfigError, match="credentials of AWS"):
        create({"environment": {"type": "gcp"}})
