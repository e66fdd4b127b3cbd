"""`launch-agent permissions`: which documents a config gets, in which form; who the agent is in a cloud."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from launch_agent.cli.main import cli
from launch_agent.environments.aws import AwsEnvironment
from launch_agent.errors import ConfigError, RegistryDenied
from launch_agent.registries.ecr import EcrRegistry
from launch_agent.spec.image import ImageRef
from tests.fakes.moto_server import ACCOUNT, REGION, Aws
from tools import permissions_page

EXAMPLES = Path(__file__).parents[2] / "examples"
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


def told(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["permissions", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def documents(*arguments: str) -> dict[str, dict[str, Any]]:
    found = json.loads(told("--format", "json", *arguments))
    return {f"{each['cloud']}/{each['name']}": each for each in found}


def config(tmp_path: Path, text: str) -> str:
    file = tmp_path / "launch-config.yaml"
    file.write_text(f"queues: [q]\n{text}")
    return str(file)


@pytest.mark.parametrize(
    "file", sorted((EXAMPLES / "launch-configs").glob("*.yaml")), ids=lambda file: file.stem
)
def test_every_example_has_an_answer_in_every_form(file: Path) -> None:
    given = ["-c", str(file), "--resource", "sagemaker", "--resource", "vertex", "--resource", "kubernetes"]
    data = json.loads(told(*given, "--format", "json"))
    assert yaml.safe_load(told(*given, "--format", "yaml")) == data
    text = told(*given)
    for each in data:
        assert f"{each['cloud']}/{each['name']}: {each['purpose']}" in text
        assert each["grants"]
        for grant in each["grants"]:
            assert grant["why"]
            assert (grant["origin"] == "documents") is bool(grant["requirement"])


def test_a_config_without_a_cloud_needs_nothing(tmp_path: Path) -> None:
    assert documents("-c", config(tmp_path, "")) == {}
    assert "needs no rights" in told("-c", config(tmp_path, ""))


def test_only_what_is_needed_is_printed(tmp_path: Path) -> None:
    aws = config(tmp_path, f"environment: {{type: aws, region: {REGION}}}\n")
    assert documents("-c", aws) == {}
    queue = str(EXAMPLES / "queue-configs" / "sagemaker.yaml")
    assert "aws/start-training-jobs" in documents("-c", aws, "--queue-config", queue)
    gcp = config(
        tmp_path,
        "environment: {type: gcp, region: europe-west4, project: p}\npolicy: {vertex: {max-replicas: 4}}\n",
    )
    assert "gcp/custom-jobs" in documents("-c", gcp)
    assert documents("-c", gcp, "--cloud", "aws") == {}


def test_stored_queues_are_read_too(tmp_path: Path) -> None:
    stored = tmp_path / "queue.json"
    queue = yaml.safe_load((EXAMPLES / "queue-configs" / "vertex-spot.yaml").read_text())
    stored.write_text(json.dumps({"resource_args": {"gcp-vertex": queue}}))
    gcp = config(tmp_path, "environment: {type: gcp, region: europe-west4, project: p}\n")
    found = documents("-c", gcp, "--queue-config", str(stored))
    assert found["gcp/run-as"]["grants"][0]["on"] == "trainer@my-project.iam.gserviceaccount.com"


def test_one_document_alone_is_for_a_pipe(tmp_path: Path) -> None:
    ecr = config(
        tmp_path,
        f"environment: {{type: aws, region: {REGION}}}\n"
        f"builder: {{type: docker, destination: {HOST}/jobs}}\n",
    )
    assert json.loads(told("-c", ecr, "--document", "push-images"))["Version"] == "2012-10-17"
    with pytest.raises(ConfigError, match="no document is named"):
        told("-c", ecr, "--document", "nonsense")
    odd = tmp_path / "odd.yaml"
    odd.write_text("frobnicate: 1\n")
    with pytest.raises(ConfigError, match="no resource"):
        told("-c", ecr, "--queue-config", str(odd))


@pytest.mark.req("GAP-21")
def test_who_the_agent_is_is_told_for_each_cloud() -> None:
    """No document shows a trust policy; each cloud has a way without a key."""
    pod = ("--namespace", "launch", "--service-account", "agent")
    files = {"aws": "eks-ecr-kaniko", "gcp": "gke-gar", "azure": "aks-acr"}
    found: dict[str, dict[str, Any]] = {}
    for name in files.values():
        found |= documents("-c", str(EXAMPLES / "launch-configs" / f"{name}.yaml"), *pod)
    (irsa,) = found["aws/agent-trust-irsa"]["document"]["Statement"]
    assert irsa["Action"] == "sts:AssumeRoleWithWebIdentity"
    provider = "oidc.eks.us-east-1.amazonaws.com/id/<CLUSTER-ID>"
    assert irsa["Condition"]["StringEquals"] == {
        f"{provider}:sub": "system:serviceaccount:launch:agent",
        f"{provider}:aud": "sts.amazonaws.com",
    }
    (lent,) = found["aws/agent-trust-pod-identity"]["document"]["Statement"]
    assert lent["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert lent["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    (binding,) = found["gcp/agent-trust"]["document"]["bindings"]
    assert binding["role"] == "roles/iam.workloadIdentityUser"
    assert binding["members"] == ["serviceAccount:my-project.svc.id.goog[launch/agent]"]
    assert found["azure/agent-trust"]["document"]["subject"] == "system:serviceaccount:launch:agent"


@pytest.mark.req("CON-17", "ACR-3", "BLOB-1", "GAP-25")
def test_azures_roles_are_named_as_azure_names_them(tmp_path: Path) -> None:
    found = documents("-c", str(EXAMPLES / "launch-configs" / "aks-acr.yaml"), "--cloud", "azure")
    roles = {
        name: each["document"]["roleAssignments"][0]["roleDefinitionName"]
        for name, each in found.items()
        if "roleAssignments" in each["document"]
    }
    assert roles == {"azure/push-images": "AcrPush", "azure/build-contexts": "Storage Blob Data Contributor"}
    docker = config(
        tmp_path,
        "environment: {type: azure}\nbuilder: {type: docker, destination: myregistry.azurecr.io/jobs}\n",
    )
    assert "azure/push-images" in documents("-c", docker)


@pytest.mark.req("CON-17")
def test_the_resource_of_ecr_is_spelled_as_aws_spells_it() -> None:
    found = documents("-c", str(EXAMPLES / "launch-configs" / "eks-ecr-kaniko.yaml"))["aws/push-images"]
    resource = found["document"]["Statement"][0]["Resource"]
    assert resource == "arn:aws:ecr:us-east-1:123456789012:repository/jobs"


def ecr_policy(tmp_path: Path, builder: str, more: str = "") -> dict[str, Any]:
    text = f"environment: {{type: aws, region: {REGION}}}\n{more}builder: {{type: {builder}"
    contexts = ", build-context-store: 's3://b/c'" if builder == "kaniko" else ""
    destination = "" if more else f", destination: {HOST}/jobs"
    given = config(tmp_path, f"{text}{destination}{contexts}}}\n")
    policy: dict[str, Any] = json.loads(told("-c", given, "--document", "push-images"))
    return policy


def actions(policy: dict[str, Any]) -> set[str]:
    return {
        action
        for statement in policy["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


@pytest.mark.req("CON-38")
def test_reading_creating_and_deleting_are_asked_for_by_those_who_do_it(tmp_path: Path) -> None:
    reads = {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
    pushes = actions(ecr_policy(tmp_path, "docker"))
    assert not reads & pushes
    assert not {"ecr:CreateRepository", "ecr:BatchDeleteImage"} & pushes
    for builder in ("kaniko", "layers"):
        assert reads <= actions(ecr_policy(tmp_path, builder))
    registry = f"registry: {{type: ecr, uri: {HOST}/jobs, create: true}}\n"
    assert actions(ecr_policy(tmp_path, "docker", registry)) - pushes == {"ecr:CreateRepository"}


@pytest.mark.req("CON-38", "ECR-5")
def test_what_is_printed_for_ecr_is_enough_there_and_no_more(
    aws_server: Aws, bare_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """moto does not tell which resource of ECR is asked for, so that is left open."""
    registry = f"registry: {{type: ecr, uri: {HOST}/jobs, create: true}}\n"
    with_create, without = ecr_policy(tmp_path, "docker", registry), ecr_policy(tmp_path, "docker")
    for policy, may_create in ((with_create, True), (without, False)):
        policy["Statement"] = [{**each, "Resource": "*"} for each in policy["Statement"]]
        name = f"tests/{uuid.uuid4().hex[:12]}"
        for variable, value in aws_server.user(policy).items():
            bare_environment.setenv(variable, value)
        made = EcrRegistry(f"{HOST}/{name}", AwsEnvironment(REGION), makes=True)
        if not may_create:
            with aws_server.enforcing(), pytest.raises(RegistryDenied, match="CreateRepository"):
                made.verify()
            aws_server.client("ecr").create_repository(repositoryName=name)
        with aws_server.enforcing():
            made.verify()
            assert made.exists(ImageRef.parse(f"{HOST}/{name}:v1")) == ""
            assert made.credentials() is not None
        made.close()


@pytest.mark.req("VTX-1", "CON-22", "CON-36", "CON-38", "GAP-21")
def test_the_page_shows_what_the_command_prints() -> None:
    text = permissions_page.PAGE.read_text(encoding="utf-8")
    assert text == permissions_page.page(), "python tools/permissions_page.py"
    assert text.count("```json") == text.count("<!-- permissions ") > 12
    assert "Error" not in text
