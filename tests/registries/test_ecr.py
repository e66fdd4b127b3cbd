"""Amazon ECR: moto's server, with its IAM rules enforced where rights are the point."""

from __future__ import annotations

import json
import os
import uuid
from typing import Any

import pytest

from launch_agent import plugins
from launch_agent.clients.cloud_faults import Cause, understand
from launch_agent.environments.aws import AwsEnvironment
from launch_agent.errors import ConfigError, RegistryDenied, RegistryNotFound, RegistryUnavailable
from launch_agent.registries import Registry
from launch_agent.registries.ecr import EcrRegistry, create
from launch_agent.spec.image import ImageRef
from tests.fakes import policies
from tests.fakes.clock import Clock
from tests.fakes.moto_server import ACCOUNT, REGION, Aws

# The end of every token that moto gives: the first of January 2015.
_MOTO_EXPIRES = 1_420_070_400.0
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


@pytest.fixture
def aws(aws_server: Aws, bare_environment: pytest.MonkeyPatch) -> Aws:
    use(bare_environment, aws_server.variables)
    return aws_server


@pytest.fixture
def repository(aws: Aws) -> str:
    name = f"tests/{uuid.uuid4().hex[:12]}"
    aws.client("ecr").create_repository(repositoryName=name)
    return name


def use(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def registry_of(name: str, **more: Any) -> EcrRegistry:
    return EcrRegistry(f"{HOST}/{name}", AwsEnvironment(REGION), **more)


def put_image(aws: Aws, repository: str, tag: str) -> str:
    config = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "size": 2,
        "digest": "sha256:" + "0" * 64,
    }
    manifest = {"schemaVersion": 2, "config": config, "layers": [], "annotations": {"n": os.urandom(8).hex()}}
    manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
    put = aws.client("ecr").put_image(
        repositoryName=repository, imageManifest=json.dumps(manifest), imageTag=tag
    )
    return str(put["image"]["imageId"]["imageDigest"])


@pytest.mark.req("REG-1", "ECR-1", "ECR-4", "REG-7")
def test_an_image_is_found_by_its_tag(aws: Aws, repository: str) -> None:
    environment = AwsEnvironment(REGION)
    registry: Registry = plugins.load("registries", "ecr").create(f"{HOST}/{repository}", environment, {})
    registry.verify()
    assert registry.repository == f"{HOST}/{repository}"
    ref = ImageRef.parse(f"{HOST}/{repository}:v1")
    assert registry.exists(ref) == ""
    digest = put_image(aws, repository, "v1")
    assert registry.exists(ref) == digest
    assert registry.exists(ImageRef.parse(f"{HOST}/{repository}@{digest}")) == digest
    assert registry.exists(ImageRef.parse(f"{HOST}/{repository}:v2")) == ""


@pytest.mark.req("REG-6")
def test_credentials_open_the_registry_and_are_kept(aws: Aws, repository: str) -> None:
    clock = Clock(_MOTO_EXPIRES - 12 * 3600)
    registry = registry_of(repository, clock=clock)
    first = registry.credentials()
    assert first is not None
    assert (first.host, first.username) == (HOST, "AWS")
    assert first.password
    assert first.expires == _MOTO_EXPIRES
    clock.now = _MOTO_EXPIRES - 301
    assert registry.credentials() is first
    clock.now = _MOTO_EXPIRES - 299
    assert registry.credentials() is not first


@pytest.mark.req("ECR-3")
def test_the_account_of_a_name_alone_is_asked_of_aws(aws: Aws, repository: str) -> None:
    registry = create(repository, AwsEnvironment(REGION), {})
    assert registry.repository == f"{HOST}/{repository}"
    registry.verify()
    assert registry.exists(ImageRef.parse(f"{HOST}/{repository}:v1")) == ""


def test_another_partition_has_another_domain(aws: Aws) -> None:
    registry = create("jobs", AwsEnvironment("cn-north-1"), {})
    assert registry.repository.endswith(".dkr.ecr.cn-north-1.amazonaws.com.cn/jobs")


@pytest.mark.req("ECR-5", "ECR-10", "GAP-8")
def test_a_repository_is_made_where_the_config_says_so(aws: Aws) -> None:
    name = f"tests/{uuid.uuid4().hex[:12]}"
    with pytest.raises(RegistryNotFound, match=f"'{name}' does not exist") as caught:
        registry_of(name).verify()
    assert f"create-repository --repository-name {name}" in caught.value.hint
    assert "registry.create: true" in caught.value.hint
    registry_of(name, makes=True).verify()
    registry_of(name).verify()
    registry_of(name, makes=True).verify()


@pytest.mark.req("ENV-3", "ENV-4", "ECR-11", "ECR-14", "ECR-15")
def test_the_documented_policy_is_enough(
    aws: Aws, repository: str, bare_environment: pytest.MonkeyPatch
) -> None:
    digest = put_image(aws, repository, "v1")
    use(bare_environment, aws.user(policies.ecr()))
    name = f"tests/{uuid.uuid4().hex[:12]}"
    with aws.enforcing():
        registry = registry_of(repository)
        registry.verify()
        assert registry.exists(ImageRef.parse(f"{HOST}/{repository}:v1")) == digest
        registry_of(name, makes=True).verify()


@pytest.mark.parametrize(
    ("place", "missing"),
    [(0, "ecr:DescribeRepositories on repository/tests"), (1, "ecr:GetAuthorizationToken")],
)
def test_a_statement_less_is_not(
    aws: Aws, repository: str, bare_environment: pytest.MonkeyPatch, place: int, missing: str
) -> None:
    use(bare_environment, aws.user(policies.without(policies.ecr(), place)))
    with aws.enforcing(), pytest.raises(RegistryDenied, match="not authorized") as caught:
        registry_of(repository).verify()
    assert f"allow {missing}" in caught.value.hint


@pytest.mark.req("ECR-6", "ECR-7", "ECR-8", "ECR-9", "ECR-12", "ECR-13")
@pytest.mark.parametrize(
    "action",
    ["InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "BatchCheckLayerAvailability",
     "PutImage", "BatchDeleteImage"],
)  # fmt: skip
def test_each_right_of_a_push_is_in_the_policy_and_needed(
    aws: Aws, repository: str, bare_environment: pytest.MonkeyPatch, action: str
) -> None:
    """A push over the registry's HTTP API is these calls inside of AWS, which asks for the same rights."""
    allowed = aws.user(policies.ecr())
    denied = aws.user(policies.without_action(policies.ecr(), f"ecr:{action}"))
    use(bare_environment, allowed)
    with aws.enforcing():
        assert push(repository) == []
    use(bare_environment, denied)
    with aws.enforcing():
        assert push(repository) == [action]


def push(repository: str) -> list[str]:
    """Push a layer and an image, and delete it again, by ECR's own API; the actions that were denied."""
    import hashlib

    from botocore.exceptions import ClientError

    client = AwsEnvironment(REGION).session().client("ecr")
    layer = os.urandom(32)
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 32, "digest": digest}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
    }
    upload: dict[str, Any] = {"uploadId": str(uuid.uuid4())}
    denied: list[str] = []

    def call(action: str, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(client, operation)(repositoryName=repository, **arguments)
        except ClientError as error:
            if understand(error).cause is Cause.DENIED:
                denied.append(action)
            return {}

    upload |= call("InitiateLayerUpload", "initiate_layer_upload")
    number = upload["uploadId"]
    call("UploadLayerPart", "upload_layer_part", uploadId=number, partFirstByte=0, partLastByte=31,
         layerPartBlob=layer)  # fmt: skip
    call("CompleteLayerUpload", "complete_layer_upload", uploadId=number, layerDigests=[digest])
    call("BatchCheckLayerAvailability", "batch_check_layer_availability", layerDigests=[digest])
    call("PutImage", "put_image", imageManifest=json.dumps(manifest), imageTag="v9")
    call("BatchDeleteImage", "batch_delete_image", imageIds=[{"imageTag": "v9"}])
    return denied


@pytest.mark.req("REG-15")
def test_an_environment_of_another_cloud_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs an environment of type 'aws'"):
        create(f"{HOST}/jobs", None, {})


def test_aws_that_does_not_answer(bare_environment: pytest.MonkeyPatch) -> None:
    use(bare_environment, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    bare_environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RegistryUnavailable, match=r"GetAuthorizationToken.*Could not connect") as caught:
        registry_of("jobs").credentials()
    assert caught.value.retryable


def test_a_build_logs_in_by_its_own_identity(aws: Aws) -> None:
    patch = registry_of("jobs").build_pod()
    (secret,) = patch.secrets
    assert json.loads(secret.files[".dockerconfigjson"].reveal()) == {"credHelpers": {HOST: "ecr-login"}}
    assert patch.volumes[0]["secret"]["secretName"] == f"{{{secret.name}}}"


def test_a_build_that_cannot_assume_the_role_gets_a_token(aws: Aws) -> None:
    environment = AwsEnvironment(REGION)
    environment.role = f"arn:aws:iam::{ACCOUNT}:role/builds"
    aws.client("iam").create_role(RoleName="builds-of-ecr", AssumeRolePolicyDocument='{"Statement": []}')
    environment.role = f"arn:aws:iam::{ACCOUNT}:role/builds-of-ecr"
    (secret,) = create(f"{HOST}/jobs", environment, {}).build_pod().secrets
    document = json.loads(secret.files[".dockerconfigjson"].reveal())
    assert list(document["auths"]) == [HOST]
    assert document["auths"][HOST]["auth"]


@pytest.mark.parametrize(
    "host",
    [
        f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com",
        f"{ACCOUNT}.dkr-ecr.eu-west-1.on.aws",
        f"{ACCOUNT}.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
    ],
)
def test_the_registry_is_asked_in_its_own_region(aws: Aws, host: str) -> None:
    registry = EcrRegistry(f"{host}/jobs", AwsEnvironment(REGION))
    found = registry.credentials()
    assert found is not None
    assert found.host == host
    assert registry._api().meta.region_name == host.split(".")[-3 if "amazonaws" in host else 2]


def test_a_right_to_create_that_is_missing_is_named(aws: Aws, bare_environment: pytest.MonkeyPatch) -> None:
    policy = policies.without_action(policies.ecr(), "ecr:CreateRepository")
    use(bare_environment, aws.user(policy))
    with aws.enforcing(), pytest.raises(RegistryDenied, match="CreateRepository") as caught:
        registry_of(f"tests/{uuid.uuid4().hex[:12]}", makes=True).verify()
    assert "allow ecr:CreateRepository on repository/tests/" in caught.value.hint
