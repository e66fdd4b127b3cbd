"""From a queue's configuration and a job to the request of CreateTrainingJob; pure functions all."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import Refused, SubmitRejected
from launch_agent.runners.sagemaker import tags
from launch_agent.runners.sagemaker.request import compose
from launch_agent.spec import cloud, macros, runenv, runspec, sagemaker, shapes
from launch_agent.spec.model import Lease, RunIdentity, RunRequest
from launch_agent.spec.secret import Secret
from tests.contracts.runner import identity_for
from tests.fakes import aws_model
from tests.runners.sagemaker.bench import IMAGE, queue
from tools import sagemaker_api

EXAMPLE = Path(__file__).parents[3] / "examples" / "queue-configs" / "sagemaker.yaml"


def request(**fields: Any) -> RunRequest:
    usual: dict[str, Any] = {
        "identity": identity_for("agent é"),
        "image": IMAGE,
        "entry_point": ["python", "train.py"],
        "args": ["--lr", "0.1"],
        "env": {"WANDB_PROJECT": "p"},
        "secret_env": {"WANDB_API_KEY": Secret("hush-hush")},
        "resource_args": queue(),
    }
    return RunRequest(**{**usual, **fields})


def refusal(**fields: Any) -> str:
    with pytest.raises(SubmitRejected) as refused:
        compose(request(**fields))
    assert "hush" not in str(refused.value)
    return str(refused.value)


@pytest.mark.req("SM-6", "SM-7")
def test_a_request_is_the_queues_own_with_what_makes_it_this_run() -> None:
    more = {
        "Tags": [{"Key": "team", "Value": "a"}],
        "EnableManagedSpotTraining": True,
        "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
        "ResourceConfig": {
            "InstanceType": "ml.g5.xlarge",
            "InstanceCount": 2,
            "VolumeSizeInGB": 30,
            "VolumeKmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/1",
            "KeepAlivePeriodInSeconds": 600,
        },
        "AlgorithmSpecification": {
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
        },
        "HyperParameters": {"lr": "0.1"},
        "InputDataConfig": [
            {
                "ChannelName": "train",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data"}},
            }
        ],
        "RetryStrategy": {"MaximumRetryAttempts": 2},
        "ExperimentConfig": {"TrialName": "t"},
        "EnableNetworkIsolation": False,
    }
    made = compose(request(resource_args=queue(**more)))
    assert aws_model.complaint("sagemaker", "CreateTrainingJob", made) == ""
    for key, value in more.items():
        if key not in ("Tags", "AlgorithmSpecification"):
            assert made[key] == value
    algorithm = made["AlgorithmSpecification"]
    assert algorithm["MetricDefinitions"] == [{"Name": "loss", "Regex": "loss=(.*)"}]
    assert algorithm["TrainingImage"] == IMAGE
    assert algorithm["ContainerEntrypoint"] == ["python", "train.py"]
    assert algorithm["ContainerArguments"] == ["--lr", "0.1"]
    assert made["Environment"] == {"WANDB_PROJECT": "p", "WANDB_API_KEY": "hush-hush"}
    assert made["Tags"][0] == {"Key": "team", "Value": "a"}


def test_an_image_and_a_command_of_the_queue_stay_where_the_job_brings_none() -> None:
    theirs = {"TrainingImage": IMAGE, "TrainingInputMode": "Pipe", "ContainerEntrypoint": ["train.sh"]}
    args = queue(AlgorithmSpecification=theirs)
    made = compose(request(image="", entry_point=[], args=[], resource_args=args))
    assert made["AlgorithmSpecification"] == theirs


def test_a_working_directory_is_entered_before_the_command() -> None:
    made = compose(request(working_dir="/a b"))
    words = made["AlgorithmSpecification"]["ContainerEntrypoint"]
    assert words == ["sh", "-c", 'cd "$0" && exec "$@"', "/a b", "python", "train.py"]
    assert "working directory" in refusal(working_dir="/a", entry_point=[])


def test_a_key_by_reference_is_no_variable() -> None:
    arn = "arn:aws:secretsmanager:us-east-1:1:secret:wandb"
    made = compose(request(), key_secret=arn)
    assert "hush" not in str(made)
    assert made["Environment"]["WANDB_API_KEY_SECRET_ARN"] == arn


def test_everything_that_is_wrong_is_named_at_once() -> None:
    args = {
        "ResourceConfig": {"InstanceType": "x"},
        "Environment": {"LONG": "x" * 513},
        "Tags": "a",
        "OutputDataConfig": {"KmsKeyId": "k"},
    }
    said = refusal(resource_args=args)
    for words in (
        "resource_args.sagemaker.RoleArn is missing",
        "ResourceConfig.InstanceCount is missing",
        "ResourceConfig.VolumeSizeInGB is missing",
        "StoppingCondition is missing",
        "OutputDataConfig.S3OutputPath is missing",
        "Environment.LONG has 513 characters",
        "Tags is no list",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"ResourceConfig": "x"}, "ResourceConfig is no mapping"),
        ({"AlgorithmSpecification": []}, "AlgorithmSpecification is no mapping"),
        ({"Environment": ["A=b"]}, "Environment is no mapping"),
        ({"Environment": {"A": {"b": 1}}}, "Environment.A has no text"),
        ({"Environment": {"A": "a\0b"}}, "Environment.A has no text"),
        ({"Environment": {"A B": "x"}}, "Environment is no mapping of names"),
        ({"Tags": [{"Key": "launch-agent/item-id", "Value": "x"}]}, "the agent's own tag"),
        ({"Tags": [{"Key": f"k{n}", "Value": ""} for n in range(39)]}, "38 at most"),
        ({"AlgorithmSpecification": {"ContainerEntrypoint": "sh"}}, "ContainerEntrypoint is no list"),
        ({"AlgorithmSpecification": {"TrainingImage": "nginx"}}, "read images of ECR alone"),
        ({"EnableManagedSpotTraining": True}, "StoppingCondition.MaxWaitTimeInSeconds is missing"),
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59},
            },
            "MaxWaitTimeInSeconds is 59, less than",
        ),
    ],
)
def test_what_cannot_become_a_job_is_refused(args: dict[str, Any], words: str) -> None:
    assert words in refusal(resource_args=queue(**args))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"args": ["x" * 257]}, "ContainerArguments[0] has 257 characters"),
        ({"args": ["x"] * 101}, "ContainerArguments has 101 words"),
        ({"image": ""}, "TrainingImage is missing"),
        ({"image": "ghcr.io/a/b"}, "read images of ECR alone"),
        ({"env": {f"V{n}": "x" for n in range(100)}}, "are 101, 100 at most"),
        ({"env": {"BIG": "x" * 513}}, "Environment.BIG has 513 characters"),
    ],
)
def test_what_a_job_brings_is_looked_at_too(fields: dict[str, Any], words: str) -> None:
    assert words in refusal(**fields)


@pytest.mark.parametrize(
    "more",
    [
        {"ResourceConfig": {"InstanceGroups": [{"InstanceType": "x"}], "VolumeSizeInGB": 1}},
        {"AlgorithmSpecification": {"AlgorithmName": "arn:aws:sagemaker:us-east-1:1:algorithm/a"}},
        {
            "AlgorithmSpecification": {
                "TrainingImage": "registry.corp/a",
                "TrainingImageConfig": {"TrainingRepositoryAccessMode": "Vpc"},
            }
        },
        {"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 0}},
    ],
)
def test_less_usual_configurations_are_taken(more: dict[str, Any]) -> None:
    compose(request(resource_args=queue(**more)))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/a:1", True),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a", True),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a/b@sha256:0", True),
        ("123456789012.dkr-ecr.eu-west-1.on.aws/a", True),
        ("public.ecr.aws/a/b", False),
        ("localhost:5000/a", False),
        ("a", False),
    ],
)
def test_ecr_is_known_by_its_addresses(image: str, expected: bool) -> None:
    assert sagemaker.is_ecr(image) is expected


@pytest.mark.req("REG-4", "SM-10")
def test_what_the_agent_builds_goes_to_ecr() -> None:
    cloud.check_repository("sagemaker", "123456789012.dkr.ecr.us-east-1.amazonaws.com/jobs")
    cloud.check_repository("kubernetes", "registry.corp/jobs")
    for repository in ("registry.corp/jobs", "europe-docker.pkg.dev/p/r/i", "jobs", ""):
        with pytest.raises(Refused, match="cloud registry") as refused:
            cloud.check_repository("sagemaker", repository)
        assert "builder.destination" in refused.value.hint


@pytest.mark.req("SM-8")
def test_a_job_may_choose_its_instances() -> None:
    """The backend fills template variables, and merges what a job overrides, before the agent sees it."""
    example = yaml.safe_load(EXAMPLE.read_text().replace('"{{instance_type}}"', "ml.g5.2xlarge"))
    spec = {
        "entity": "acme",
        "project": "p",
        "resource": "sagemaker",
        "docker": {"docker_image": IMAGE},
        "resource_args": {"sagemaker": example},
    }
    parsed = runspec.parse(Lease(item_id="i", queue="q", entity="acme", spec=spec))
    cloud.check(parsed)
    made = compose(request(resource_args=parsed.resource_args))
    assert made["ResourceConfig"]["InstanceType"] == "ml.g5.2xlarge"


def test_a_large_config_comes_in_pieces_that_fit() -> None:
    config = {f"key{number}": "ä漢" * 40 for number in range(40)}
    spec = {
        "entity": "acme",
        "project": "p",
        "resource": "sagemaker",
        "docker": {"docker_image": IMAGE},
        "overrides": {"run_config": config},
    }
    parsed = runspec.parse(Lease(item_id="i", queue="q", entity="acme", spec=spec))
    env = runenv.make(
        parsed,
        identity_for("a"),
        base_url="https://api.wandb.ai",
        api_key=Secret("hush"),
        env_limit=sagemaker.LONGEST_VALUE,
    )
    made = compose(request(env=env.env, secret_env=env.secret_env))
    assert aws_model.complaint("sagemaker", "CreateTrainingJob", made) == ""
    assert "WANDB_CONFIG" not in made["Environment"]
    assert len(made["Environment"]["WANDB_CONFIG_0"]) == 512


def test_macros_are_filled_wherever_a_text_stands() -> None:
    args = queue(
        OutputDataConfig={"S3OutputPath": "s3://b/${project_name}/${run_id}"},
        Environment={"WHO": "${author}"},
        Tags=[{"Key": "run", "Value": "${run_id}"}],
    )
    filled = macros.fill(args, {"project_name": "p", "run_id": "r1", "author": "ada"})
    made = compose(request(resource_args=filled))
    assert made["OutputDataConfig"]["S3OutputPath"] == "s3://b/p/r1"
    assert made["Environment"]["WHO"] == "ada"
    assert made["Tags"][0]["Value"] == "r1"


@given(
    st.builds(RunIdentity, **{field.name: st.text(max_size=25) for field in dataclasses.fields(RunIdentity)})
)
def test_an_identity_survives_its_tags(whose: RunIdentity) -> None:
    made = tags.to_tags(whose)
    assert tags.from_tags(made) == whose
    asked = {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/x", "Tags": made}
    assert aws_model.complaint("sagemaker", "AddTags", asked) == ""


@given(st.text(), st.text(), st.text())
def test_names_are_legal_and_tell_attempts_apart(item: str, run: str, project: str) -> None:
    whose = dataclasses.replace(identity_for("a"), item_id=item, run_id=run, project=project)
    name = tags.job_name(whose)
    assert aws_model.complaint("sagemaker", "DescribeTrainingJob", {"TrainingJobName": name}) == ""
    assert tags.job_name(dataclasses.replace(whose, item_id=f"{item}x")) != name
    assert tags.job_name(dataclasses.replace(whose, agent="b")) != name


def test_an_identity_that_fits_no_tag_is_refused() -> None:
    with pytest.raises(SubmitRejected, match="too long for a tag"):
        tags.to_tags(dataclasses.replace(identity_for("a"), project="p" * 257))


def model_problems(value: Any) -> list[str]:
    shape = aws_model.model("sagemaker").operation_model("CreateTrainingJob").input_shape
    return [f"{each.place} {each.why} {each.hint}".strip() for each in shapes.problems(shape, value)]


def test_the_apis_model_is_compared_without_printing_a_value() -> None:
    made = compose(request())
    assert model_problems(made) == []
    wrong = {
        **made,
        "Vpcconfig": {},
        "RoleArn": 7,
        "ResourceConfig": {"InstanceCount": "secret", "VolumeSizeInGB": -1},
        "Environment": {"A": ["secret"]},
        "Tags": {"secret": 1},
        "EnableManagedSpotTraining": "secret",
        "InputDataConfig": [{"ChannelName": "a"}],
    }
    said = model_problems(wrong)
    assert sorted(said) == sorted(
        [
            "Vpcconfig is no key of the API did you mean VpcConfig?",
            "RoleArn is not a text",
            "ResourceConfig.InstanceCount is not a whole number",
            "ResourceConfig.VolumeSizeInGB is less than 0",
            "Environment.A is not a text",
            "Tags is no list",
            "EnableManagedSpotTraining is not true or false",
            "InputDataConfig[0].DataSource is missing",
        ]
    )


def test_the_linters_extract_is_the_sdks_model() -> None:
    assert sagemaker_api.TARGET.read_text(encoding="utf-8") == sagemaker_api.text(), (
        "python tools/sagemaker_api.py"
    )


def test_texts_of_macros_become_the_numbers_and_switches_of_the_api() -> None:
    shape = aws_model.model("sagemaker").operation_model("CreateTrainingJob").input_shape
    given = compose(
        request(
            resource_args=queue(
                ResourceConfig={"InstanceType": "x", "InstanceCount": "2", "VolumeSizeInGB": "30"},
                StoppingCondition={"MaxRuntimeInSeconds": "60", "MaxWaitTimeInSeconds": "never"},
                EnableInterContainerTrafficEncryption="true",
                HyperParameters={"layers": "2"},
                Other="7",
            )
        )
    )
    made = shapes.fitted(shape, given)
    assert made["ResourceConfig"] == {"InstanceType": "x", "InstanceCount": 2, "VolumeSizeInGB": 30}
    assert made["StoppingCondition"] == {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": "never"}
    assert made["EnableInterContainerTrafficEncryption"] is True
    assert (made["HyperParameters"], made["Other"]) == ({"layers": "2"}, "7")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["RoleArn", "ResourceConfig", "StoppingCondition", "OutputDataConfig", "Tags", "Environment",
     "AlgorithmSpecification", "VpcConfig", "HyperParameters", "InputDataConfig", "Other"]
)  # fmt: skip


@given(st.dictionaries(KEYS, JSON))
def test_nothing_that_a_queue_can_hold_is_an_error_of_ours(args: dict[str, Any]) -> None:
    with contextlib.suppress(SubmitRejected):
        model_problems(compose(request(resource_args={**queue(), **args})))
