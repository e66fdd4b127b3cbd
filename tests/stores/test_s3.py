"""Build contexts in S3: moto's server, with its IAM rules enforced where rights are the point."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from launch_agent import plugins
from launch_agent.environments.aws import AwsEnvironment
from launch_agent.errors import ConfigError, StoreError
from launch_agent.stores.s3 import S3Store, create
from tests.contracts.store import Place, StoreContract, unique
from tests.fakes import policies
from tests.fakes.moto_server import REGION, Aws

ENVIRONMENT = AwsEnvironment(REGION)


@pytest.fixture
def aws(aws_server: Aws, bare_environment: pytest.MonkeyPatch) -> Aws:
    use(bare_environment, aws_server.variables)
    return aws_server


@pytest.fixture
def bucket(aws: Aws) -> str:
    name = unique()
    aws.client("s3").create_bucket(Bucket=name)
    return name


def use(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def environment() -> AwsEnvironment:
    """One of its own for each user."""
    return AwsEnvironment(REGION)


@pytest.mark.req("S3-3", "KAN-10", "KAN-13", "KAN-14", "KAN-15")
class TestS3(StoreContract):
    @pytest.fixture(params=["", "jobs/contexts"], ids=["bucket", "prefix"])
    def place(
        self, aws: Aws, bucket: str, environment: AwsEnvironment, request: pytest.FixtureRequest
    ) -> Place:
        path = request.param
        prefix = f"{path}/" if path else ""
        client = aws.client("s3")

        def contents() -> Mapping[str, bytes]:
            listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
            return {
                each["Key"]: client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
                for each in listed
            }

        return Place(
            store=plugins.load("stores", "s3").create(f"s3://{bucket}/{path}/", environment, {}),
            contents=contents,
            address=f"s3://{bucket}/{prefix}",
            later=lambda seconds: S3Store(bucket, prefix, environment, clock=lambda: time.time() + seconds),
            beside=lambda name: client.put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=b"y"),
        )


@pytest.mark.req("S3-1", "S3-2", "S3-4", "ENV-3", "ENV-4")
def test_the_documented_policy_is_enough(
    aws: Aws, bucket: str, environment: AwsEnvironment, bare_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(bare_environment, aws.user(policies.s3(bucket)))
    file = tmp_path / "context"
    file.write_bytes(bytes(40 * 1024 * 1024))
    with aws.enforcing():
        store = create(f"s3://{bucket}/x/", environment, {})
        store.verify()
        store.put(file, "k")
        store.delete("k")
        assert store.sweep(0) == 0


@pytest.mark.parametrize(("place", "right"), [(0, "s3:ListBucket"), (1, "s3:PutObject")])
def test_a_statement_less_is_not(
    aws: Aws,
    bucket: str,
    environment: AwsEnvironment,
    bare_environment: pytest.MonkeyPatch,
    place: int,
    right: str,
) -> None:
    use(bare_environment, aws.user(policies.without(policies.s3(bucket), place)))
    with aws.enforcing(), pytest.raises(StoreError, match="AccessDenied") as caught:
        create(f"s3://{bucket}/x/", environment, {}).verify()
    arn = f"arn:aws:s3:::{bucket}"
    wanted = f"{right} on {arn} to" if right == "s3:ListBucket" else f"{right} on {arn}/x/* to"
    assert wanted in caught.value.hint


@pytest.mark.parametrize(("right", "names"), [("GetObject", "read from"), ("DeleteObject", "delete from")])
def test_each_right_is_tried(
    aws: Aws,
    bucket: str,
    environment: AwsEnvironment,
    bare_environment: pytest.MonkeyPatch,
    right: str,
    names: str,
) -> None:
    rights = {"PutObject", "GetObject", "DeleteObject"} - {right}
    statements = policies.s3(bucket)["Statement"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [statements[0], {**statements[1], "Action": [f"s3:{each}" for each in sorted(rights)]}],
    }
    use(bare_environment, aws.user(policy))
    with aws.enforcing(), pytest.raises(StoreError, match=f"cannot {names} s3://{bucket}/") as caught:
        create(f"s3://{bucket}", environment, {}).verify()
    assert f"allow s3:{right}" in caught.value.hint


def test_a_denied_upload_names_the_right(
    aws: Aws, bucket: str, environment: AwsEnvironment, bare_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "context"
    file.write_bytes(b"x")
    use(bare_environment, aws.user())
    with aws.enforcing(), pytest.raises(StoreError, match="AccessDenied") as caught:
        create(f"s3://{bucket}", environment, {}).put(file, "k")
    assert "allow s3:PutObject" in caught.value.hint


def test_a_bucket_that_is_not_there(aws: Aws, environment: AwsEnvironment) -> None:
    with pytest.raises(StoreError, match="NoSuchBucket") as caught:
        create("s3://nobody-made-this", environment, {}).verify()
    assert "make the bucket" in caught.value.hint


def test_a_key_encrypts(aws: Aws, bucket: str, environment: AwsEnvironment, tmp_path: Path) -> None:
    file = tmp_path / "context"
    file.write_bytes(b"x")
    store = create(f"s3://{bucket}", environment, {"build-context-key": "alias/contexts"})
    store.verify()
    store.put(file, "k")
    head = aws.client("s3").head_object(Bucket=bucket, Key="launch-context-k")
    assert head["ServerSideEncryption"] == "aws:kms"
    assert head["SSEKMSKeyId"] == "alias/contexts"


def test_aws_that_does_not_answer(bare_environment: pytest.MonkeyPatch, environment: AwsEnvironment) -> None:
    use(bare_environment, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    bare_environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="Could not connect") as caught:
        create("s3://bucket", environment, {}).verify()
    assert caught.value.retryable


@pytest.mark.req("ENV-2")
def test_an_environment_of_another_cloud_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs an environment of type 'aws'"):
        create("s3://bucket", None, {})
