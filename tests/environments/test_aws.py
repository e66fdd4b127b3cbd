"""The AWS environment, against moto's server."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch_agent import plugins
from launch_agent.environments import Environment
from launch_agent.environments.aws import AwsEnvironment, create
from launch_agent.errors import CloudError
from tests.fakes.clock import Clock
from tests.fakes.moto_server import ACCOUNT, Aws


def use(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.req("ENV-1", "AWS-1", "AWS-2", "AWS-3")
def test_the_credentials_are_those_that_boto3_finds(
    aws_server: Aws, bare_environment: pytest.MonkeyPatch
) -> None:
    use(bare_environment, aws_server.variables)
    environment: Environment = plugins.load("environments", "aws").create(
        {"type": "aws", "region": "eu-west-1"}
    )
    environment.verify()
    session = environment.session()
    assert session.region_name == environment.region == "eu-west-1"
    assert session.client("sts").get_caller_identity()["Account"] == ACCOUNT
    assert environment.session() is not session
    assert [each["value"] for each in environment.build_pod().env] == ["eu-west-1", "eu-west-1"]


@pytest.mark.req("AWS-3")
def test_a_profile_in_a_file_is_found_and_read_again(
    aws_server: Aws, bare_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    use(bare_environment, {"AWS_ENDPOINT_URL": aws_server.url, "AWS_SHARED_CREDENTIALS_FILE": str(file)})
    clock = Clock()
    environment = AwsEnvironment("us-east-1", clock=clock)
    file.write_text("[default]\naws_access_key_id = first\naws_secret_access_key = x\n")
    environment.verify()
    file.write_text("[default]\naws_access_key_id = second\naws_secret_access_key = x\n")
    assert environment.session().get_credentials().access_key == "first"
    clock.forward(700)
    assert environment.session().get_credentials().access_key == "second"


def test_descriptions_of_services_are_read_without_their_prose(
    aws_server: Aws, bare_environment: pytest.MonkeyPatch
) -> None:
    """What is left says the same: every operation of boto3's own client, with the same input."""
    use(bare_environment, aws_server.variables)
    ours = AwsEnvironment("us-east-1").session().client("sagemaker").meta.service_model
    theirs = aws_server.client("sagemaker").meta.service_model
    assert ours.operation_names == theirs.operation_names
    for name in ("CreateTrainingJob", "ListTrainingJobs"):
        mine, other = (each.operation_model(name).input_shape for each in (ours, theirs))
        assert list(mine.members) == list(other.members)
        assert mine.required_members == other.required_members
        assert (mine.documentation, bool(other.documentation)) == ("", False)
    assert ours.documentation == ""
    assert theirs.documentation


def test_no_credentials(bare_environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(CloudError, match="cannot find AWS credentials: there are none") as caught:
        create({"region": "us-east-1"}).verify()
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    bare_environment.setenv("AWS_PROFILE", "absent")
    with pytest.raises(CloudError, match=r"profile \(absent\) could not be found"):
        create({"region": "us-east-1"}).verify()


def test_credentials_that_aws_does_not_know(aws_server: Aws, bare_environment: pytest.MonkeyPatch) -> None:
    use(bare_environment, {**aws_server.variables, "AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"})
    environment = create({"region": "us-east-1"})
    with aws_server.enforcing(), pytest.raises(CloudError, match="InvalidClientTokenId") as caught:
        environment.verify()
    assert "renew them" in caught.value.hint
    assert not caught.value.retryable


def test_a_region_that_is_not_there(bare_environment: pytest.MonkeyPatch) -> None:
    use(bare_environment, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    bare_environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(CloudError, match="Could not connect") as caught:
        create({"region": "nowhere-1"}).verify()
    assert "environment.region right (nowhere-1)" in caught.value.hint
    assert caught.value.retryable


def test_a_role_is_assumed_and_said_where_it_cannot_be(
    aws_server: Aws, bare_environment: pytest.MonkeyPatch
) -> None:
    trust = '{"Version": "2012-10-17", "Statement": []}'
    role = aws_server.client("iam").create_role(RoleName="builds", AssumeRolePolicyDocument=trust)
    arn = role["Role"]["Arn"]
    use(bare_environment, aws_server.variables)
    environment = create({"region": "us-east-1", "role": arn, "external-id": "shared"})
    environment.verify()
    identity = environment.session().client("sts").get_caller_identity()
    assert "assumed-role/builds/launch-agent" in identity["Arn"]

    use(bare_environment, aws_server.user())
    denied = create({"region": "us-east-1", "role": arn})
    with aws_server.enforcing(), pytest.raises(CloudError, match="AssumeRole") as caught:
        denied.verify()
    assert f"sts:AssumeRole on {arn}" in caught.value.hint
