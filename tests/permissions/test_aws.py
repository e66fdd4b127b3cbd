"""The policies for AWS are enough for what the agent does there, and without any one right they are not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest

from launch_agent.config import load
from launch_agent.errors import RunnerError
from launch_agent.permissions import Document, Needs, aws
from launch_agent.spec.model import RunState
from tests.contracts.runner import end_of
from tests.fakes import iam, policies
from tests.fakes.eventually import eventually
from tests.fakes.moto_server import Aws
from tests.fakes.moto_server import aws as moto
from tests.fakes.sagemaker_server import ACCOUNT, REGION, SageMakerServer
from tests.runners.sagemaker.bench import SageMakerBench, queue

ROLE = queue()["RoleArn"]
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0b8e"
ENCRYPTED = {**queue()["ResourceConfig"], "VolumeKmsKeyId": KEY}
JOB = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/x"


def config_of(tmp_path: Path, text: str) -> Any:
    file = tmp_path / "launch-config.yaml"
    file.write_text(f"queues: [q]\nenvironment: {{type: aws, region: {REGION}}}\n{text}")
    return load.load(file, {"WANDB_API_KEY": "k" * 40, "HOME": str(tmp_path)})


def printed(
    tmp_path: Path, text: str = "", *, queues: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, Document]:
    """The documents by name, their placeholders filled as a user would. Without `queues` there is none of
    SageMaker."""
    resources = frozenset() if queues is None else frozenset({"sagemaker"})
    needs = Needs(config=config_of(tmp_path, text), resources=resources, queues={"sagemaker": queues or ()})
    filled = {"<ACCOUNT-ID>": ACCOUNT, "<ARN-OF-ROLE-TO-PASS>": ROLE, "<ARN-OF-KMS-KEY>": KEY}
    found = {}
    for document in aws.documents(needs):
        text = json.dumps(document.body)
        for placeholder, value in filled.items():
            text = text.replace(placeholder, value)
        found[document.name] = Document(
            cloud=document.cloud, name=document.name, purpose=document.purpose, body=json.loads(text),
            grants=document.grants, notes=document.notes,
        )  # fmt: skip
    return found


def for_agents(documents: Mapping[str, Document]) -> list[Mapping[str, Any]]:
    return [documents[name].body for name in ("start-training-jobs", "follow-training-jobs")]


def everything(server: SageMakerServer, desk: SageMakerBench) -> None:
    """All that an agent asks of SageMaker in the life of a job."""
    runner = desk.runner(keep=False)
    runner.verify()
    request = desk.request(resource_args={"ResourceConfig": ENCRYPTED})
    run = runner.submit(request)
    server.jobs[run.id].streams[f"{run.id}/algo-1-1"] = ["hello"]
    assert run.logs(10) == "hello\n"
    (found,) = desk.runner(keep=False).adopt(desk.agent)
    found.cancel()
    eventually(lambda: server.jobs[run.id].status == "Stopping")
    server.move(run.id, "Stopped")
    assert end_of(run).state is RunState.STOPPED
    kept = desk.runner(keep=True).adopt(desk.agent)[0]
    kept.release()
    assert end_of(found).state is RunState.STOPPED
    found.release()


@pytest.fixture
def server() -> Iterator[SageMakerServer]:
    with SageMakerServer(runs=False) as made:
        yield made


@pytest.fixture
def desk(server: SageMakerServer) -> Iterator[SageMakerBench]:
    made = SageMakerBench(server)
    yield made
    made.close()


@pytest.mark.req("SM-1", "SM-2", "SM-3", "SM-4")
def test_what_is_printed_is_enough(server: SageMakerServer, desk: SageMakerBench, tmp_path: Path) -> None:
    text = "runner: {sagemaker: {keep: false}}\n"
    server.policies = for_agents(printed(tmp_path, text, queues=[]))
    everything(server, desk)


RIGHTS = [
    "sagemaker:CreateTrainingJob",
    "iam:PassRole",
    "kms:CreateGrant",
    "sagemaker:AddTags",
    "sagemaker:ListTags",
    "sagemaker:DescribeTrainingJob",
    "sagemaker:ListTrainingJobs",
    "sagemaker:DeleteTrainingJob",
    "logs:DescribeLogStreams",
    "logs:GetLogEvents",
]


@pytest.mark.req("SM-2", "SM-3", "SM-4")
@pytest.mark.parametrize("action", RIGHTS)
def test_without_any_one_of_them_it_is_not_and_that_one_is_named(
    server: SageMakerServer, desk: SageMakerBench, tmp_path: Path, action: str
) -> None:
    full = for_agents(printed(tmp_path, "runner: {sagemaker: {keep: false}}\n", queues=[]))
    server.policies = [policies.without_action(each, action) for each in full]
    assert server.policies != full
    with pytest.raises(RunnerError) as refused:
        everything(server, desk)
    assert action in f"{refused.value.message} {refused.value.hint}"
    assert action in refused.value.hint


def test_a_stop_that_is_not_allowed_is_said_and_tried_again(
    server: SageMakerServer, desk: SageMakerBench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = for_agents(printed(tmp_path, queues=[]))
    server.policies = [policies.without_action(each, "sagemaker:StopTrainingJob") for each in full]
    run = desk.runner().submit(desk.request())
    run.cancel()
    eventually(lambda: "allow the agent sagemaker:StopTrainingJob" in caplog.text)
    server.policies = full
    eventually(lambda: server.jobs[run.id].status == "Stopping")


@pytest.mark.req("SM-9", "CON-22", "CON-35", "CON-37")
def test_the_documents_policy_is_kept_but_for_what_is_wrong_in_it(tmp_path: Path) -> None:
    """Both older pages have it, the newer page has none and takes nothing back."""
    theirs = policies.sagemaker(region=REGION, account=ACCOUNT, role=ROLE, key=KEY)
    ours = printed(tmp_path, queues=[])["start-training-jobs"].body
    assert ours["Version"] == theirs["Version"] == "2012-10-17"
    assert len(ours["Statement"]) == len(theirs["Statement"]) == 3
    create, pass_role, grant = (dict(each) for each in ours["Statement"])
    assert create.pop("Resource") == f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/*"
    assert theirs["Statement"][0].pop("Resource") == f"arn:aws:sagemaker:{REGION}:{ACCOUNT}/*"
    via = {"kms:ViaService": f"sagemaker.{REGION}.amazonaws.com"}
    assert grant.pop("Condition") == {
        "StringEquals": via,
        "Bool": {"kms:GrantIsForAWSResource": "true"},
    }
    assert theirs["Statement"][2].pop("Condition") == {
        "StringEquals": {**via, "kms:GrantIsForAWSResource": "true"}
    }
    assert [create, pass_role, grant] == theirs["Statement"]


@pytest.mark.req("CON-35", "CON-37", "SM-4")
def test_what_was_put_right_matters(tmp_path: Path) -> None:
    theirs = [policies.sagemaker(region=REGION, account=ACCOUNT, role=ROLE, key=KEY)]
    ours = for_agents(printed(tmp_path, queues=[]))
    assert not iam.allows(theirs, "sagemaker:CreateTrainingJob", JOB)
    assert iam.allows(ours, "sagemaker:CreateTrainingJob", JOB)
    asked = {"kms:ViaService": f"sagemaker.{REGION}.amazonaws.com", "kms:GrantIsForAWSResource": "true"}
    assert iam.allows(ours, "kms:CreateGrant", KEY, asked)
    for key, other in (("kms:ViaService", "ec2.amazonaws.com"), ("kms:GrantIsForAWSResource", "false")):
        assert not iam.allows(ours, "kms:CreateGrant", KEY, {**asked, key: other})
    assert not iam.allows(ours, "kms:CreateGrant", KEY)


@pytest.mark.req("SM-5", "SM-6")
def test_a_grant_is_asked_for_only_where_a_queue_encrypts_its_disks(tmp_path: Path) -> None:
    plain = printed(tmp_path, queues=[queue()])["start-training-jobs"]
    assert "kms" not in json.dumps(plain.body)
    encrypted = printed(tmp_path, queues=[queue(), queue(ResourceConfig=ENCRYPTED)])["start-training-jobs"]
    assert encrypted.body["Statement"][2]["Resource"] == KEY
    assert any("VolumeKmsKeyId" in note for note in encrypted.notes)
    by_id = queue(ResourceConfig={**ENCRYPTED, "VolumeKmsKeyId": "0b8e"})
    assert printed(tmp_path, queues=[by_id])["start-training-jobs"].body["Statement"][2]["Resource"] == KEY


@pytest.mark.req("SM-3")
def test_roles_are_those_of_the_queues_and_no_other(tmp_path: Path) -> None:
    other = "arn:aws:iam::123456789012:role/other"
    queues = [queue(), queue(), queue(RoleArn=other), queue(RoleArn="{{role}}")]
    document = printed(tmp_path, queues=queues)["start-training-jobs"]
    assert document.body["Statement"][1]["Resource"] == [ROLE, other]


def test_every_right_is_explained_and_each_document_has_a_name_of_its_own(tmp_path: Path) -> None:
    text = (
        "environment: {type: aws, region: eu-west-1, role: 'arn:aws:iam::123456789012:role/agent'}\n"
        "builder: {type: kaniko, build-context-store: s3://contexts/launch, destination: "
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/jobs}\n"
        "runner: {sagemaker: {api-key-secret: "
        "'arn:aws:secretsmanager:eu-west-1:123456789012:secret:wandb-Ab12'}}\n"
    )
    file = tmp_path / "launch-config.yaml"
    file.write_text(f"queues: [q]\n{text}")
    config = load.load(file, {"WANDB_API_KEY": "k" * 40, "HOME": str(tmp_path)})
    found = aws.documents(Needs(config=config, resources=frozenset({"sagemaker"})))
    names = [document.name for document in found]
    assert len(set(names)) == len(names)
    for document in found:
        rights = {
            action
            for statement in document.body["Statement"]
            for action in (
                [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            )
        }
        assert {grant.name for grant in document.grants} == rights, document.name
        assert all(grant.why for grant in document.grants)
    text = json.dumps([document.body for document in found])
    assert "arn:aws:ecr:eu-west-1:123456789012:repository/team/jobs" in text
    assert "arn:aws:s3:::contexts/*" in text
    assert "secret:wandb-Ab12" in text


def test_other_partitions_have_arns_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "launch-config.yaml"
    file.write_text("queues: [q]\nenvironment: {type: aws, region: cn-north-1}\n")
    config = load.load(file, {"WANDB_API_KEY": "k" * 40, "HOME": str(tmp_path)})
    text = json.dumps(
        [each.body for each in aws.documents(Needs(config=config, resources=frozenset({"sagemaker"})))]
    )
    assert "arn:aws-cn:sagemaker:cn-north-1:" in text
    assert "arn:aws:" not in text


def test_what_has_no_part_in_aws_needs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "launch-config.yaml"
    file.write_text("queues: [q]\n")
    config = load.load(file, {"WANDB_API_KEY": "k" * 40, "HOME": str(tmp_path)})
    assert aws.documents(Needs(config=config, resources=frozenset({"kubernetes"}))) == []


@pytest.fixture(scope="module")
def cloud() -> Iterator[Aws]:
    with moto() as found:
        yield found


def clients(cloud: Aws, body: Sequence[Mapping[str, Any]]) -> Any:
    keys = cloud.user(*body)
    return boto3.client(
        "sagemaker", region_name=REGION, endpoint_url=cloud.url,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


@pytest.mark.req("SM-1", "SM-2", "SM-7")
def test_moto_starts_a_training_job_with_the_policy_and_not_without(cloud: Aws, tmp_path: Path) -> None:
    """moto checks signatures and actions; which resource is meant it does not tell."""
    start = dict(printed(tmp_path, queues=[queue()])["start-training-jobs"].body)
    start["Statement"] = [{**each, "Resource": "*"} for each in start["Statement"]]
    with_it, without_it = clients(cloud, [start]), clients(cloud, [policies.without(start, 0)])
    request = SageMakerBench.composed()
    with cloud.enforcing():
        with_it.create_training_job(**request)
        with pytest.raises(without_it.exceptions.ClientError, match="not authorized"):
            without_it.create_training_job(**{**request, "TrainingJobName": "another"})
    with contextlib.closing(cloud.client("sagemaker")) as admin:
        assert admin.describe_training_job(TrainingJobName=request["TrainingJobName"])
