"""The values file that the documents print works once it is filled in, whichever way it comes to Helm."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.config import load
from tests.fakes.control_plane import Cluster
from tests.fakes.helm import CHART, Helm, HelmFailed, one

PRINTED = Path(__file__).with_name("documents-values.yaml").read_text(encoding="utf-8")
FILLED = {
    "<queue name>": "gpu",
    "<n concurrent jobs>": "2",
    "<aws-region>": "us-east-1",
    "<my-registry-uri>": "123456789012.dkr.ecr.us-east-1.amazonaws.com/launch",
    "<s3-bucket-uri>": "s3://launch-contexts/builds",
    "apiKey: ''": "apiKey: '0123456789012345678901234567890123456789'",
}
CONFIG = "queues:\n- gpu\nmax_jobs: 2\n"
KEY = "0123456789012345678901234567890123456789"


def filled() -> str:
    text = PRINTED
    for placeholder, value in FILLED.items():
        assert placeholder in text
        text = text.replace(placeholder, value)
    return text


def config_text(objects: list[dict[str, Any]]) -> str:
    """The launch config that the chart puts into its ConfigMap."""
    found = [
        each["data"]["launch-config.yaml"] for each in objects if "launch-config.yaml" in each.get("data", {})
    ]
    assert len(found) == 1
    return str(found[0])


def secret_values(objects: list[dict[str, Any]]) -> set[str]:
    """All values of all Secrets, decoded."""
    secrets = [each for each in objects if each["kind"] == "Secret"]
    encoded = [value for each in secrets for value in each.get("data", {}).values()]
    plain = [value for each in secrets for value in each.get("stringData", {}).values()]
    return {base64.b64decode(value).decode() for value in encoded} | set(plain)


@pytest.mark.req("CHART-26", "CHART-13", "CHART-15", "CHART-4", "SEC-4")
def test_the_printed_file_renders_once_it_is_filled_in(helm: Helm, tmp_path: Path) -> None:
    objects = helm.template(filled())
    deployment = one(objects, "Deployment")
    assert deployment["metadata"]["namespace"] == "wandb"
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "wandb/launch-agent:latest"
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"]["limits"] == {"cpu": "1000m", "memory": "1Gi"}
    assert KEY in secret_values(objects)
    file = tmp_path / "launch-config.yaml"
    file.write_text(config_text(objects))
    config = load.load(file, {"HOME": str(tmp_path), "WANDB_API_KEY": KEY})
    assert (config.queues, config.max_jobs) == (("gpu",), 2)


@pytest.mark.req("CHART-21", "CHART-22", "CHART-23")
def test_annotations_without_a_value_are_not_rendered(helm: Helm) -> None:
    account = one(helm.template(filled()), "ServiceAccount")
    assert not account["metadata"].get("annotations")


@pytest.mark.req("CHART-17", "CHART-24")
def test_empty_credentials_make_no_secret(helm: Helm) -> None:
    assert {KEY} == secret_values(helm.template(filled()))


@pytest.mark.req("CHART-12")
def test_the_printed_namespaces_each_get_a_role_binding(helm: Helm) -> None:
    objects = helm.template(filled())
    bound = {each["metadata"]["namespace"] for each in objects if each["kind"] == "RoleBinding"}
    assert bound == {"default", "wandb"}


@pytest.mark.req("CHART-26")
def test_the_printed_file_as_it_is_fails_with_what_to_fill_in(helm: Helm) -> None:
    with pytest.raises(HelmFailed) as failed:
        helm.template(PRINTED)
    said = str(failed.value)
    assert "agent.apiKey: " in said
    for placeholder in ("<queue name>", "<aws-region>", "<my-registry-uri>", "<s3-bucket-uri>"):
        assert placeholder in said


@pytest.mark.timeout(300)
@pytest.mark.req("CHART-1", "CHART-10", "CARD-7")
def test_the_printed_file_installs(cluster_helm: Helm, cluster: Cluster, namespace: str) -> None:
    """In a namespace of the test's, in place of the shared `wandb`."""
    text = (
        filled()
        .replace("namespace: wandb", f"namespace: {namespace}")
        .replace("  - wandb", f"  - {namespace}")
    )
    cluster_helm.run("install", "gpu", str(CHART), "-n", namespace, "-f", "-", stdin=text)
    try:
        assert [each["metadata"]["name"] for each in cluster.kube.items("apps/v1", "Deployment", namespace)]
    finally:
        cluster_helm.run("uninstall", "gpu", "-n", namespace)
    names = [
        each["metadata"]["name"] for each in cluster.kube.items("rbac.authorization.k8s.io/v1", "RoleBinding")
    ]
    assert not [name for name in names if namespace in name]


@pytest.mark.req("CHART-2", "CARD-8")
def test_a_file_for_the_launch_config_alone(helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "launch-config.yaml"
    file.write_text(CONFIG)
    objects = helm.template("{}", "--set", f"agent.apiKey={KEY}", "--set-file", f"launchConfig={file}")
    assert config_text(objects) == CONFIG


def test_values_as_flags_only(helm: Helm) -> None:
    """As Terraform's `set` blocks and scripts flatten them: dots escaped, lists by index or in braces."""
    flags = [
        f"agent.apiKey={KEY}",
        "launchConfig.queues={gpu,cpu}",
        "launchConfig.max_jobs=3",
        "additionalTargetNamespaces[0]=training",
        r"serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn:aws:iam::123456789012:role/launch",
        "agent.resources.limits.memory=2Gi",
        r"agent.nodeSelector.kubernetes\.io/os=linux",
    ]
    objects = helm.template("{}", *(part for flag in flags for part in ("--set", flag)))
    given = yaml.safe_load(config_text(objects))
    assert (given["queues"], given["max_jobs"]) == (["gpu", "cpu"], 3)
    account = one(objects, "ServiceAccount")
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/launch"
    }
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "1000m", "memory": "2Gi"}


@pytest.mark.req("CHART-16")
def test_the_other_name_of_the_launch_config(helm: Helm) -> None:
    assert config_text(helm.template({"agent": {"apiKey": KEY}, "agentConfig": CONFIG})) == CONFIG


@pytest.mark.req("CHART-17", "CHART-18", "CHART-19", "GIT-6")
def test_git_credentials_of_several_lines(helm: Helm) -> None:
    lines = "https://user:p%40ss@github.com\nhttps://oauth2:token@gitlab.example.com\n"
    values = {"agent": {"apiKey": KEY}, "launchConfig": CONFIG, "gitCreds": lines}
    objects = helm.template(values)
    assert any(lines.strip() == value.strip() for value in secret_values(objects))
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    secret = next(
        each["metadata"]["name"]
        for each in objects
        if each["kind"] == "Secret" and ".git-credentials" in each.get("data", {})
    )
    holding = {volume["name"] for volume in pod["volumes"] if f'"{secret}"' in json.dumps(volume)}
    assert holding & {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
