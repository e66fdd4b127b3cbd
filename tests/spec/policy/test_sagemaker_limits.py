"""The administrator's bounds for jobs on SageMaker: what is counted, and what is said."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import Refused
from launch_agent.spec.model import RunSpec
from launch_agent.spec.policy import Policy, check
from launch_agent.spec.policy.sagemaker_limits import SageMakerLimits

Json = dict[str, Any]
ROOT = "resource_args.sagemaker"
QUEUE: Json = {
    "RoleArn": "arn:aws:iam::123456789012:role/training",
    "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 4, "VolumeSizeInGB": 30},
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}


def judge(args: Json, **bounds: Any) -> None:
    config = {key.replace("_", "-"): value for key, value in bounds.items()}
    spec = RunSpec(entity="e", project="p", resource="sagemaker", resource_args=args)
    check(spec, Policy(sagemaker=SageMakerLimits.of(config), allow={"sagemaker": {"RoleArn": True}}))


def resources(**more: Any) -> Json:
    return {**QUEUE, "ResourceConfig": {**QUEUE["ResourceConfig"], **more}}


GROUPS = [
    {"InstanceType": "ml.g5.xlarge", "InstanceCount": 3, "InstanceGroupName": "a"},
    {"InstanceType": "ml.p5.48xlarge", "InstanceCount": "2", "InstanceGroupName": "b"},
]
GROUPED = {**QUEUE, "ResourceConfig": {"InstanceGroups": GROUPS, "VolumeSizeInGB": 1}}
PREFERRED = {**QUEUE, "ResourceConfig": {"InstancePreferences": [dict(each) for each in GROUPS]}}


@pytest.mark.parametrize(
    ("args", "bounds"),
    [
        (QUEUE, {}),
        (QUEUE, {"max_instances": 4, "max_runtime": 3600, "max_keep_alive": 0}),
        (QUEUE, {"instance_types": ["ml.g5.*"], "roles": ["*:role/training"]}),
        (QUEUE, {"output_locations": ["s3://bucket/*"]}),
        (GROUPED, {"max_instances": 5}),
        (PREFERRED, {"max_instances": 3}),
        ({**QUEUE, "VpcConfig": {"Subnets": ["subnet-1"]}}, {"subnets": ["subnet-*"]}),
    ],
)
def test_what_is_within_the_bounds_is_taken(args: Json, bounds: Json) -> None:
    judge(args, **bounds)


@pytest.mark.parametrize(
    ("args", "bounds", "said"),
    [
        (QUEUE, {"max_instances": 3}, f"{ROOT}.ResourceConfig: it asks for 4 instances"),
        (GROUPED, {"max_instances": 4}, "asks for 5 instances"),
        (PREFERRED, {"max_instances": 2}, "asks for 3 instances"),
        (resources(InstanceCount="${n}"), {"max_instances": 9}, "InstanceCount: it is no number"),
        (resources(InstanceCount=True), {"max_instances": 9}, "is no number"),
        (QUEUE, {"max_runtime": 3599}, "MaxRuntimeInSeconds: it is 3600 seconds"),
        ({**QUEUE, "StoppingCondition": {}}, {"max_runtime": 3600}, "is 86400 seconds"),
        (resources(KeepAlivePeriodInSeconds=600), {"max_keep_alive": 60}, "allows 60"),
        (QUEUE, {"instance_types": ["ml.m5.*"]}, "names the instance type 'ml.g5.xlarge'"),
        (GROUPED, {"instance_types": ["ml.g5.*"]}, "InstanceGroups[1].InstanceType"),
        (QUEUE, {"roles": ["*:role/other"]}, f"{ROOT}.RoleArn"),
        ({**QUEUE, "RoleArn": "arn:${x}:role/other"}, {"roles": ["*"]}, f"{ROOT}.RoleArn"),
        (QUEUE, {"output_locations": ["s3://other/*"]}, "OutputDataConfig.S3OutputPath"),
        (
            {**QUEUE, "OutputDataConfig": {"S3OutputPath": "s3://bucket/../x"}},
            {"output_locations": ["s3://bucket/*"]},
            "OutputDataConfig.S3OutputPath",
        ),
        (
            {**QUEUE, "CheckpointConfig": {"S3Uri": "s3://theirs/c"}},
            {"output_locations": ["s3://bucket/*"]},
            "CheckpointConfig.S3Uri",
        ),
        (QUEUE, {"subnets": ["subnet-*"]}, "VpcConfig.Subnets: it is missing"),
        ({**QUEUE, "VpcConfig": {"Subnets": ["vpc"]}}, {"subnets": ["subnet-*"]}, "Subnets[0]"),
    ],
)
def test_what_goes_beyond_is_refused_and_no_opening_helps(args: Json, bounds: Json, said: str) -> None:
    with pytest.raises(Refused) as refused:
        judge(args, **bounds)
    assert said in refused.value.message
    assert "policy.sagemaker." in refused.value.hint


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*QUEUE, "VpcConfig", "CheckpointConfig"])
INNER = st.sampled_from(["InstanceGroups", "InstancePreferences", "InstanceCount", "Subnets", "S3Uri"])


@given(st.dictionaries(KEYS, JSON | st.dictionaries(INNER, JSON)))
def test_whatever_a_queue_holds_is_judged(args: Json) -> None:
    with contextlib.suppress(Refused):
        judge(
            args, max_instances=1, max_runtime=1, max_keep_alive=1, instance_types=[], roles=[],
            output_locations=[], subnets=[],
        )  # fmt: skip
