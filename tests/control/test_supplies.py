"""What builds draw on, by the config that names it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launch_agent.config import load
from launch_agent.config.model import AgentConfig
from launch_agent.control import supplies
from launch_agent.errors import CloudError, StoreError
from tests.contracts.store import unique
from tests.fakes.moto_server import ACCOUNT, Aws

ECR = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"


def config(folder: Path, text: str) -> AgentConfig:
    file = folder / "launch-config.yaml"
    file.write_text(f"queues: [gpu]\n{text}")
    return load.load(file, {"WANDB_API_KEY": "k" * 40, "HOME": str(folder)})


def kinds(made: supplies.Supplies) -> tuple[str, ...]:
    parts = (made.environment, made.registry, made.store)
    return tuple(type(each).__module__.rpartition(".")[2] for each in parts if each is not None)


def test_nothing_named_is_nothing_made(tmp_path: Path) -> None:
    made = supplies.make(config(tmp_path, ""), {})
    assert kinds(made) == ("local",)
    made.verify()


@pytest.mark.req("REG-1", "REG-7", "REG-10", "REG-12", "REG-13", "REG-14")
@pytest.mark.parametrize(
    ("text", "expected", "repository"),
    [
        (
            "environment: {type: aws, region: us-east-1}\n"
            f"builder: {{type: kaniko, destination: {ECR}/jobs, build-context-store: 's3://contexts/x/'}}\n",
            ("aws", "ecr", "s3"),
            f"{ECR}/jobs",
        ),
        (
            f"environment: {{type: aws, region: us-east-1}}\nregistry: {{type: ecr, uri: {ECR}/jobs}}\n",
            ("aws", "ecr"),
            f"{ECR}/jobs",
        ),
        (
            "environment: {type: gcp, region: europe-west4, project: treasure}\n"
            "builder: {type: kaniko, uri: europe-west4-docker.pkg.dev/treasure/jobs/image, "
            "build-context-store: 'gs://contexts'}\n",
            ("gcp", "gar", "gcs"),
            "europe-west4-docker.pkg.dev/treasure/jobs/image",
        ),
        (
            "environment: {type: azure}\nregistry: {type: acr, uri: https://reg.azurecr.io/a/b}\n"
            "builder: {type: kaniko, build-context-store: 'https://t.blob.core.windows.net/c'}\n",
            ("azure", "acr", "azblob"),
            "reg.azurecr.io/a/b",
        ),
        (
            "builder: {type: docker, destination: registry.example.com:5000/jobs}\n",
            ("local", "generic"),
            "registry.example.com:5000/jobs",
        ),
        (
            "registry: {type: generic, uri: registry.example.com/jobs, plain-http: true}\n",
            ("local", "generic"),
            "registry.example.com/jobs",
        ),
        (
            f"environment: {{type: local}}\nbuilder: {{type: docker, destination: {ECR}/jobs}}\n",
            ("local", "generic"),
            f"{ECR}/jobs",
        ),
    ],
)
def test_each_cloud_has_its_kinds(
    tmp_path: Path,
    bare_environment: pytest.MonkeyPatch,
    text: str,
    expected: tuple[str, ...],
    repository: str,
) -> None:
    made = supplies.make(config(tmp_path, text), {})
    assert kinds(made) == expected
    assert made.registry is not None
    assert made.registry.repository == repository


def test_a_claim_is_the_store(tmp_path: Path) -> None:
    variables = {supplies.CLAIM: "builds", supplies.CLAIM_MOUNT: str(tmp_path)}
    made = supplies.make(config(tmp_path, ""), variables)
    assert kinds(made) == ("local", "pvc")
    made.verify()
    with pytest.raises(StoreError, match="is not mounted at /kaniko"):
        supplies.make(config(tmp_path, ""), {supplies.CLAIM: "builds"}).verify()


@pytest.mark.req("KAN-17", "ENV-1")
def test_a_store_of_a_cloud_that_is_not_the_environment_has_that_clouds_credentials(
    tmp_path: Path, aws_server: Aws, bare_environment: pytest.MonkeyPatch
) -> None:
    """A cluster outside of any cloud, with a Secret for the builds."""
    for name, value in aws_server.variables.items():
        bare_environment.setenv(name, value)
    bucket = unique()
    aws_server.client("s3").create_bucket(Bucket=bucket)
    text = (
        "environment: {type: local}\nbuilder: {type: kaniko, destination: registry.example.com/jobs, "
        f"build-context-store: 's3://{bucket}', secret-name: aws, secret-key: credentials}}\n"
    )
    made = supplies.make(config(tmp_path, text), {"AWS_REGION": "us-east-1"})
    assert kinds(made) == ("local", "generic", "s3")
    assert made.store is not None
    made.store.verify()


def test_verify_says_what_is_missing_first(tmp_path: Path, bare_environment: pytest.MonkeyPatch) -> None:
    text = f"environment: {{type: aws, region: us-east-1}}\nregistry: {{type: ecr, uri: {ECR}/jobs}}\n"
    with pytest.raises(CloudError, match="cannot find AWS credentials"):
        supplies.make(config(tmp_path, text), {}).verify()


def test_what_the_config_does_not_name_is_not_imported(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "launch-config.yaml").write_text("queues: [q]\nbuilder: {destination: reg.example.com/x}\n")
    code = (
        "import sys, pathlib\nfrom launch_agent.config import load\n"
        "from launch_agent.control import supplies\n"
        f"supplies.make(load.load(pathlib.Path({str(tmp_path)!r}), {{'WANDB_API_KEY': 'k' * 40}}), {{}});"
        "print(*({'boto3', 'botocore', 'google', 'azure', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []
