"""Queue configs: whose settings they are, what is wrong with them, and what agents refuse."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from launch_agent.config import queue, schema
from launch_agent.config.finding import Finding, Severity
from launch_agent.config.judge import Kind, judge


def findings(value: Any, kind: Kind | None = Kind.QUEUE_CONFIG) -> list[Finding]:
    return judge(yaml.safe_dump(value, sort_keys=False).encode(), file="queue.yaml", kind=kind)


@pytest.mark.parametrize(
    ("value", "resource"),
    [
        ({"namespace": "jobs"}, "kubernetes"),
        ({"spec": {"template": {}}}, "kubernetes"),
        ({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet"}, "kubernetes"),
        ({"RoleArn": "arn"}, "sagemaker"),
        ({"spec": {"worker_pool_specs": []}}, "vertex"),
        ({"gpus": "all"}, "local-container"),
        ({"--shm_size": "1g"}, "local-container"),
        ({"m": "1g"}, "local-container"),
        ({"frobnicate": 1}, ""),
    ],
)
def test_settings_are_known_by_their_keys(value: dict[str, Any], resource: str) -> None:
    assert queue.resource_of(value) == resource


@pytest.mark.parametrize("name", ["vertex", "gcp-vertex"])
@pytest.mark.parametrize("outer", [(), ("resource_args",)])
def test_the_stored_form_is_looked_into(name: str, outer: tuple[str, ...]) -> None:
    value: dict[str, Any] = {name: {"spec": {"worker_pool_specs": "{{pools}}"}}}
    for key in outer:
        value = {key: value}
    (found,) = findings(value)
    assert found.code == "not-usable"
    assert found.path == (*outer, name, "spec", "staging_bucket")


@pytest.mark.parametrize("spelling", ["shm-size", "shm_size", "--shm-size"])
def test_docker_options_have_many_spellings(spelling: str) -> None:
    assert findings({spelling: "8g"}) == []
    (found,) = findings({spelling: {"a": 1}})
    assert (found.key, found.code) == (spelling, "wrong-type")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"cpus": "{{cpus}}", "gpus": "${gpus}", "env": {"A": "{{a}}"}}, ""),
        ({"tty": "{{tty}}"}, ""),
        ({"spec": {"worker_pool_specs": "{{pools}}", "staging_bucket": "gs://b"}}, ""),
        ({"spec": {"worker_pool_specs": ["{{pool}}"], "staging_bucket": "gs://b"}}, ""),
        ({"spec": {"worker_pool_specs": ["pool"], "staging_bucket": "gs://b"}}, "spec.worker_pool_specs[0]"),
    ],
)
def test_template_variables_have_any_type(value: dict[str, Any], key: str) -> None:
    assert [found.key for found in findings(value)] == ([key] if key else [])


def test_texts_that_only_look_like_placeholders_are_left_alone() -> None:
    assert findings({"command": ["sh", "-c", "sort <in >out"], "env": ["A=<b>c"]}) == []
    (found,) = findings({"workdir": "<folder>"})
    assert (found.code, found.severity) == ("placeholder", Severity.WARNING)


def test_the_agents_own_secrets_are_not_to_be_opened() -> None:
    reference = {"secretKeyRef": {"name": "wandb-api-key-x", "key": "password"}}
    containers = [{"env": [{"name": "KEY", "valueFrom": reference}]}]
    (found,) = findings({"spec": {"template": {"spec": {"containers": containers}}}})
    assert found.key.endswith("containers[0].env[0].valueFrom.secretKeyRef.name")
    assert "unless" not in found.message
    assert "protected-secrets" in found.hint


def test_each_refused_thing_has_its_own_line() -> None:
    spec = {"hostNetwork": True, "hostPID": True, "serviceAccountName": "trainer"}
    found = findings({"spec": {"template": {"spec": spec}}})
    assert [(each.line, each.column) for each in found] == [(4, 7), (5, 7), (6, 7)]
    assert found[2].hint.endswith("policy: {allow: {kubernetes: {serviceAccountName: ['trainer']}}}")


@pytest.mark.parametrize(("named", "code"), [(True, "unknown-key"), (False, "not-checked")])
def test_a_file_of_no_known_kind(named: bool, code: str) -> None:
    (found,) = judge(b"services: {}\n", file="compose.yaml", named=named)
    assert found.code == code


def test_settings_of_nobody() -> None:
    (found,) = findings({"frobnicate": 1})
    assert found.code == "unknown-kind"
    assert findings({}) == []


def test_there_is_an_end_to_findings() -> None:
    found = findings({f"label-{number}": 1 for number in range(1000)} | {"cpus": 1})
    assert len(found) <= schema.MOST + 2
    assert found[0].code == "too-many"


def test_a_vertex_queue_is_compared_with_the_apis_description() -> None:
    pool = {"machineSpec": {"machine_typ": "n1-standard-4"}, "container_spec": {"env": [{"name": "A"}]}}
    value = {"spec": {"stagingBucket": "gs://b", "workerPoolSpecs": [pool]}, "run": {"timeout": "1h"}}
    found = {each.key: each for each in findings(value)}
    assert set(found) == {
        "spec.workerPoolSpecs[0].machineSpec.machine_typ",
        "spec.workerPoolSpecs[0].container_spec.env[0]",
        "run.timeout",
    }
    assert {each.severity for each in found.values()} == {Severity.ERROR}
    assert found["spec.workerPoolSpecs[0].machineSpec.machine_typ"].hint == "did you mean machine_type?"
    assert found["run.timeout"].line > 0


def test_a_word_that_may_be_newer_than_the_linter_is_a_warning() -> None:
    pool = {"machine_spec": {"accelerator_type": "NVIDIA_L40"}, "container_spec": {}}
    (found,) = findings({"spec": {"staging_bucket": "gs://b", "worker_pool_specs": [pool]}})
    assert (found.severity, found.code) == (Severity.WARNING, "unknown-word")
    assert found.hint == "did you mean NVIDIA_L4?"


SAGEMAKER: dict[str, Any] = {
    "RoleArn": "arn:aws:iam::123456789012:role/training",
    "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}


@pytest.mark.parametrize(
    ("more", "key", "code"),
    [
        ({}, "", ""),
        ({"StoppingCondition": {}}, "StoppingCondition", "not-usable"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": "{{hours}}"}}, "", ""),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": "3600"}}, "", ""),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": "an hour"}},
            "StoppingCondition.MaxRuntimeInSeconds",
            "not-usable",
        ),
        ({"EnableManagedSpotTraining": True}, "StoppingCondition", "not-usable"),
        ({"VpcConfig": {"Subnets": ["s"]}}, "VpcConfig", "not-usable"),
        ({"Vpcconfig": {}}, "Vpcconfig", "unknown-word"),
        ({"CheckpointConfig": "{{checkpoints}}"}, "", ""),
        ({"builder": {"base_image": "x"}}, "", ""),
        (
            {"AlgorithmSpecification": {"TrainingImage": "nginx"}},
            "AlgorithmSpecification.TrainingImage",
            "not-usable",
        ),
        ({"AlgorithmSpecification": {"TrainingImage": "${image_uri}"}}, "", ""),
    ],
)
def test_a_sagemaker_queue_is_compared_with_the_apis_description(
    more: dict[str, Any], key: str, code: str
) -> None:
    found = findings({**SAGEMAKER, **more})
    assert [each.code for each in found] == ([code] if code else [])
    assert all(each.key.startswith(key) for each in found)
