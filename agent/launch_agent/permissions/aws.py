"""IAM policies for an agent that pushes to ECR, keeps build contexts in S3, starts training jobs.

The product's documents write the resource of a training job without the colon before its kind, which matches
no job, and test a Boolean condition as a text; both are put right here. They stop at starting jobs: what it
takes to follow, stop and find them again is a document of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from launch_agent.config.destination import parse
from launch_agent.permissions import Cloud, Document, Grant, Needs
from launch_agent.spec.sagemaker import RESOURCE

VERSION = "2012-10-17"
_LOGS = "log-group:/aws/sagemaker/TrainingJobs:*"
_REPOSITORY_ACTIONS: Mapping[str, tuple[str, str]] = {
    "CreateRepository": ("make the repository where registry.create says so", "ECR-5"),
    "UploadLayerPart": ("push", "ECR-6"),
    "PutImage": ("push", "ECR-7"),
    "CompleteLayerUpload": ("push", "ECR-8"),
    "InitiateLayerUpload": ("push", "ECR-9"),
    "DescribeRepositories": ("see that the repository is there", "ECR-10"),
    "DescribeImages": ("see whether an image is there already", "ECR-11"),
    "BatchCheckLayerAvailability": ("push no layer twice", "ECR-12"),
}
_READ_ACTIONS = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_READERS = frozenset({"kaniko", "buildkit", "layers"})
_FOLLOW: Mapping[str, str] = {
    "DescribeTrainingJob": "learn why a job failed, and whether a name is taken by this very job",
    "StopTrainingJob": "stop a job that its user has stopped",
    "AddTags": "tag jobs as they are created (without it CreateTrainingJob is refused), and once reported",
    "ListTags": "find the agent's jobs again after a restart",
}


def documents(needs: Needs) -> list[Document]:
    """The policies that a config needs, in the order in which they are needed; empty for what has no part in
    AWS."""
    return list(_documents(needs))


def _documents(needs: Needs) -> Iterator[Document]:
    config = needs.config
    place = _Place(config.environment.region, config.environment.type == "aws")
    if config.environment.role and place.is_ours:
        yield _role(config.environment.role)
    if config.builder.registry == "ecr" or config.builder.repository:
        yield _push(needs, place)
    store = str(config.builder.options.get("build-context-store", ""))
    if store.startswith("s3://"):
        yield _contexts(store, place)
    if RESOURCE in needs.resources:
        queues = needs.settings(RESOURCE)
        options = config.runner.get(RESOURCE, {})
        yield _start(queues, place)
        yield _follow(place, keeps=bool(options.get("keep", True)))
        yield from _jobs_role(queues, place, str(options.get("api-key-secret", "")))


class _Place:
    """The region and the partition of ARNs; the account is known to AWS only."""

    def __init__(self, region: str, is_ours: bool) -> None:
        self.is_ours = is_ours
        self.region = region if is_ours and region else "<REGION>"
        self.partition = "aws"
        for start, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
            if self.region.startswith(start):
                self.partition = partition

    def arn(self, service: str, rest: str, *, region: str = "", account: str = "<ACCOUNT-ID>") -> str:
        return f"arn:{self.partition}:{service}:{region or self.region}:{account}:{rest}"

    def bucket(self, rest: str) -> str:
        return f"arn:{self.partition}:s3:::{rest}"


def _role(role: str) -> Document:
    why = "work as the role that environment.role names"
    return Document(
        cloud=Cloud.AWS,
        name="assume-role",
        purpose="for the identity that the agent's machine or pod has; all other policies are for the role",
        body=_policy(_allow("sts:AssumeRole", role)),
        grants=[Grant(name="sts:AssumeRole", on=role, why=why)],
        notes=[
            "The role's trust policy must name the agent's identity, and the external id if there is one."
        ],
    )


def _push(needs: Needs, place: _Place) -> Document:
    builder = needs.config.builder
    region, account, name = "", "<ACCOUNT-ID>", builder.repository
    if builder.destination:
        found = parse(builder.destination)
        host, _, name = found.uri.partition("/")
        region, account = found.region, host.partition(".")[0]
    on = place.arn("ecr", f"repository/{name}", region=region, account=account)
    actions = dict(_REPOSITORY_ACTIONS)
    notes = []
    if not builder.registry_options.get("create"):
        del actions["CreateRepository"]
        notes.append("The documents list ecr:CreateRepository too; it is for registry.create: true.")
    statements = [
        _allow([f"ecr:{action}" for action in actions], on),
        _allow("ecr:GetAuthorizationToken", "*"),
    ]
    grants = [
        Grant(name=f"ecr:{action}", on=on, why=why, requirement=number)
        for action, (why, number) in actions.items()
    ]
    grants.append(Grant(name="ecr:GetAuthorizationToken", on="*", why="log in", requirement="ECR-14"))
    if builder.type in _READERS:
        statements.append(_allow(list(_READ_ACTIONS), on))
        why = "read cached layers and base images of the repository"
        grants += [Grant(name=action, on=on, why=why) for action in _READ_ACTIONS]
    notes.append("The documents list ecr:BatchDeleteImage too (ECR-13); this agent deletes no images.")
    if not builder.destination:
        notes.append("The account is the one that the agent's identity belongs to.")
    return Document(
        cloud=Cloud.AWS,
        name="push-images",
        purpose="for the agent, and for the service account of its build pods",
        body=_policy(*statements),
        grants=grants,
        notes=notes,
    )


def _contexts(store: str, place: _Place) -> Document:
    address = urlsplit(store)
    bucket, objects = place.bucket(address.netloc), place.bucket(f"{address.netloc}/*")
    abort = "s3:AbortMultipartUpload"
    return Document(
        cloud=Cloud.AWS,
        name="build-contexts",
        purpose="for the agent, and for the service account of its build pods",
        body=_policy(
            {"Sid": "ListObjectsInBucket", **_allow(["s3:ListBucket"], [bucket])},
            {"Sid": "AllObjectActions", **_allow("s3:*Object", [objects])},
            {"Sid": "GiveUpUploads", **_allow(abort, [objects])},
        ),
        grants=[
            Grant(name="s3:ListBucket", on=bucket, why="find contexts that were left", requirement="S3-1"),
            Grant(
                name="s3:*Object", on=objects, why="put, read and delete build contexts", requirement="S3-2"
            ),
            Grant(name=abort, on=objects, why="leave no parts of uploads that broke"),
        ],
    )


def _start(queues: Sequence[Mapping[str, Any]], place: _Place) -> Document:
    jobs = place.arn("sagemaker", "training-job/*")
    roles = _named([queue.get("RoleArn") for queue in queues]) or ["<ARN-OF-ROLE-TO-PASS>"]
    given = [(queue.get("ResourceConfig") or {}).get("VolumeKmsKeyId") for queue in queues]
    keys = [_key(key, place) for key in _named(given)]
    statements = [_allow("sagemaker:CreateTrainingJob", jobs), _allow("iam:PassRole", _one(roles))]
    grants = [
        Grant(name="sagemaker:CreateTrainingJob", on=jobs, why="start jobs", requirement="SM-2"),
        *(
            Grant(name="iam:PassRole", on=role, why="hand jobs the role of their queue", requirement="SM-3")
            for role in roles
        ),
    ]
    notes = [
        "It may be narrowed to SageMaker: Condition {StringEquals: {iam:PassedToService: "
        "sagemaker.amazonaws.com}} on iam:PassRole.",
    ]
    if keys or not queues:
        keys = keys or ["<ARN-OF-KMS-KEY>"]
        through = f"sagemaker.{place.region}.amazonaws.com"
        condition = {
            "StringEquals": {"kms:ViaService": through},
            "Bool": {"kms:GrantIsForAWSResource": "true"},
        }
        statements.append({**_allow("kms:CreateGrant", _one(keys)), "Condition": condition})
        why = "encrypt the disks of jobs with ResourceConfig.VolumeKmsKeyId"
        grants += [Grant(name="kms:CreateGrant", on=key, why=why, requirement="SM-4") for key in keys]
        notes.append(
            "kms:CreateGrant is needed only where a queue's ResourceConfig has VolumeKmsKeyId and the job's "
            "role has no policy that allows it."
        )
    return Document(
        cloud=Cloud.AWS,
        name="start-training-jobs",
        purpose="for the agent, where a queue is of the type sagemaker",
        body=_policy(*statements),
        grants=grants,
        notes=notes,
    )


def _follow(place: _Place, *, keeps: bool) -> Document:
    jobs, logs = place.arn("sagemaker", "training-job/*"), place.arn("logs", _LOGS)
    actions = dict(_FOLLOW)
    if not keeps:
        actions["DeleteTrainingJob"] = (
            "delete jobs once their end was reported (runner.sagemaker.keep: false)"
        )
    reading = ["logs:DescribeLogStreams", "logs:GetLogEvents"]
    return Document(
        cloud=Cloud.AWS,
        name="follow-training-jobs",
        purpose="for the agent, where a queue is of the type sagemaker",
        body=_policy(
            _allow("sagemaker:ListTrainingJobs", "*"),
            _allow([f"sagemaker:{action}" for action in actions], jobs),
            _allow(reading, logs),
        ),
        grants=[
            Grant(name="sagemaker:ListTrainingJobs", on="*", why="see what all jobs are doing at once"),
            *(Grant(name=f"sagemaker:{action}", on=jobs, why=why) for action, why in actions.items()),
            *(Grant(name=action, on=logs, why="show what a failed job printed last") for action in reading),
        ],
        notes=["The documents of W&B Launch end at starting jobs, and list none of these."],
    )


def _jobs_role(queues: Sequence[Mapping[str, Any]], place: _Place, secret: str) -> Iterator[Document]:
    """What the role of the jobs themselves needs."""
    yield Document(
        cloud=Cloud.AWS,
        name="training-role-trust",
        purpose="the trust policy of the role that queues name as RoleArn",
        body=_policy(
            {
                "Effect": "Allow",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ),
        grants=[Grant(name="sts:AssumeRole", on="the role", why="SageMaker runs jobs as it")],
    )
    outputs = _named([(queue.get("OutputDataConfig") or {}).get("S3OutputPath") for queue in queues])
    places = [place.bucket(f"{each.removeprefix('s3://').rstrip('/')}/*") for each in outputs]
    places = places or [place.bucket("<BUCKET-NAME>/*")]
    logs = place.arn("logs", _LOGS)
    writing = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    images = place.arn("ecr", "repository/<REPOSITORY>")
    statements = [
        _allow("s3:PutObject", _one(places)),
        _allow("ecr:GetAuthorizationToken", "*"),
        _allow(list(_READ_ACTIONS), images),
        _allow(writing, logs),
    ]
    grants = [
        *(Grant(name="s3:PutObject", on=each, why="store the results of jobs") for each in places),
        Grant(name="ecr:GetAuthorizationToken", on="*", why="log in to pull the job's image"),
        *(Grant(name=action, on=images, why="pull the job's image") for action in _READ_ACTIONS),
        *(Grant(name=action, on=logs, why="keep what jobs print") for action in writing),
    ]
    if secret:
        statements.append(_allow("secretsmanager:GetSecretValue", secret))
        why = "read the API key (runner.sagemaker.api-key-secret)"
        grants.append(Grant(name="secretsmanager:GetSecretValue", on=secret, why=why))
    yield Document(
        cloud=Cloud.AWS,
        name="training-role",
        purpose="for the role that queues name as RoleArn",
        body=_policy(*statements),
        grants=grants,
        notes=["Jobs with InputDataConfig also need s3:GetObject and s3:ListBucket on their inputs."],
    )


def _policy(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": VERSION, "Statement": list(statements)}


def _allow(action: str | Sequence[str], resource: str | Sequence[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def _one(texts: list[str]) -> str | list[str]:
    return texts[0] if len(texts) == 1 else texts


def _named(values: Sequence[Any]) -> list[str]:
    """Each text once; what a template or a macro fills is not known."""
    known = [value for value in values if isinstance(value, str) and value]
    return list(dict.fromkeys(value for value in known if "{{" not in value and "${" not in value))


def _key(given: str, place: _Place) -> str:
    """Queues may name a key by its id or an alias; a policy by its ARN alone."""
    if "alias/" in given:
        return "<ARN-OF-KMS-KEY>"
    return given if given.startswith("arn:") else place.arn("kms", f"key/{given}")
