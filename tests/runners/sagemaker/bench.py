"""A runner of SageMaker, and requests for it, on a server of the tests."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import boto3
import botocore.loaders
import botocore.session

from launch_agent.runners import Run
from launch_agent.runners.sagemaker.request import compose
from launch_agent.runners.sagemaker.runner import SageMakerRunner
from launch_agent.runners.sagemaker.service import Service
from launch_agent.spec.model import RunRequest
from tests.contracts.runner import identity_for
from tests.fakes.sagemaker_server import REGION, SageMakerServer

IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/jobs@sha256:{'0' * 64}"
FRESH = 0.05
# What another process makes its runner with.
ELSEWHERE = (
    "(__import__('os').environ.update({environment!r}), "
    "__import__('launch_agent.runners.sagemaker', fromlist=['create']).create({options!r}))[1]"
)


def queue(**more: Any) -> dict[str, Any]:
    return {
        "RoleArn": "arn:aws:iam::123456789012:role/training",
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        **more,
    }


@cache
def _descriptions() -> Any:
    """What clients read of their services: megabytes of JSON, half a second for each."""
    return botocore.loaders.create_loader()


def session(key: str = "testing") -> boto3.Session:
    inner = botocore.session.Session()
    inner.register_component("data_loader", _descriptions())
    inner.set_credentials(key, "testing")
    return boto3.Session(botocore_session=inner, region_name=REGION)


class SageMakerBench:
    """`keys` are the access keys that sessions are made with, in turn; the last again and again."""

    def __init__(self, server: SageMakerServer) -> None:
        self.server = server
        self.agent = f"agent é {uuid.uuid4().hex[:8]}"
        self.keys = ["testing"]
        self._made: list[SageMakerRunner] = []

    def service(self) -> Service:
        endpoints = {"sagemaker": self.server.url, "logs": self.server.url}
        return Service(self._session, region=REGION, endpoints=endpoints)

    def runner(self, *, keep: bool = False, **options: Any) -> SageMakerRunner:
        made = SageMakerRunner(self.service(), is_kept=keep, **{"fresh": FRESH, **options})
        self._made.append(made)
        return made

    def in_another_process(self) -> str:
        options = {
            "environment": {"type": "aws", "region": REGION, "role": ""},
            "endpoints": {"sagemaker": self.server.url, "logs": self.server.url},
        }
        environment = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        return ELSEWHERE.format(environment=environment, options=options)

    def request(self, **fields: Any) -> RunRequest:
        """`resource_args` may hold `env`, as other runners have it."""
        args = dict(fields.pop("resource_args", {}))
        if env := args.pop("env", None):
            pairs = (pair.partition("=") for pair in env)
            args["Environment"] = {name: value if equals else None for name, equals, value in pairs}
        usual = {"identity": identity_for(self.agent), "image": IMAGE}
        return RunRequest(**{**usual, "resource_args": {**queue(), **args}, **fields})

    def stubborn_args(self) -> Mapping[str, Any]:
        self.server.grace = 0.3
        return {}

    @classmethod
    def composed(cls) -> dict[str, Any]:
        """A request of the API as the agent makes it."""
        return compose(RunRequest(identity=identity_for("agent"), image=IMAGE, resource_args=queue()))

    def half_start(self, request: RunRequest) -> None:
        """The request has arrived, and the agent is gone before it is answered."""
        self.service().call("create", "create_training_job", **compose(request))

    def remove_behind_our_back(self, run: Run) -> None:
        job = self.server.jobs.pop(run.id)
        assert job.container is not None
        job.container.close()

    def left(self) -> Sequence[str]:
        return [name for name, job in self.server.jobs.items() if self.agent in job.tags.values()]

    def close(self) -> None:
        for runner in self._made:
            runner.close()

    def _session(self) -> boto3.Session:
        return session(self.keys.pop(0) if len(self.keys) > 1 else self.keys[0])
