"""A runner of Vertex AI, and requests for it, on a server of the tests."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.environments.gcp import GcpEnvironment
from launch_agent.runners import Run
from launch_agent.runners.vertex.request import AGENT_LABEL, compose
from launch_agent.runners.vertex.run import CustomJob
from launch_agent.runners.vertex.runner import VertexRunner
from launch_agent.runners.vertex.service import Service
from launch_agent.runners.vertex.told import Told
from launch_agent.spec.identity import agent_key
from launch_agent.spec.model import RunRequest
from tests.contracts.runner import identity_for
from tests.fakes.custom_jobs import CustomJobs
from tests.fakes.google_tokens import GoogleTokens

PROJECT, REGION = "treasure", "europe-west4"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/jobs/train@sha256:{'0' * 64}"
FRESH = 0.05
# What another process makes its runner with.
ELSEWHERE = (
    "(__import__('os').environ.update({environment!r}), "
    "__import__('launch_agent.runners.vertex', fromlist=['create']).create({options!r}))[1]"
)


def queue(**container: Any) -> dict[str, Any]:
    pool = {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": 1,
        "container_spec": {"image_uri": "${image_uri}", **container},
    }
    return {"spec": {"staging_bucket": "gs://bucket", "worker_pool_specs": [pool]}}


class VertexBench:
    """Runners whose credentials are those of a key made for the test. `folder` is the agent's state."""

    def __init__(self, server: CustomJobs, tokens: GoogleTokens, folder: Path) -> None:
        self.server = server
        self.tokens = tokens
        self.agent = f"agent é {uuid.uuid4().hex[:8]}"
        self._folder = folder
        self._made: list[VertexRunner] = []

    @property
    def endpoints(self) -> dict[str, str]:
        return dict.fromkeys(("aiplatform", "logging", "cloudresourcemanager"), self.server.url)

    def service(self) -> Service:
        session = GcpEnvironment(PROJECT, REGION).session
        http = HttpClient(HttpSettings())
        return Service(http, session, project=PROJECT, region=REGION, endpoints=self.endpoints)

    def runner(self, *, keep: bool = False, **options: Any) -> VertexRunner:
        told = Told(self._folder / "vertex-told")
        made = VertexRunner(self.service(), is_kept=keep, told=told, **{"fresh": FRESH, **options})
        self._made.append(made)
        return made

    def options(self, **more: Any) -> dict[str, Any]:
        return {
            "environment": {"type": "gcp", "project": PROJECT, "region": REGION},
            "endpoints": self.endpoints,
            "keep": False,
            "poll": 10,
            "state": str(self._folder),
            **more,
        }

    def in_another_process(self) -> str:
        environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(self.tokens.key_file)}
        return ELSEWHERE.format(environment=environment, options=self.options())

    def request(self, **fields: Any) -> RunRequest:
        """`resource_args` may hold `env`, as other runners have it."""
        args = dict(fields.pop("resource_args", {}))
        env = {"env": args.pop("env")} if "env" in args else {}
        usual = {"identity": identity_for(self.agent), "image": IMAGE}
        mine = {**queue(**{"image_uri": IMAGE, **env}), **args}
        return RunRequest(**{**usual, "resource_args": mine, **fields})

    def stubborn_args(self) -> Mapping[str, Any]:
        self.server.grace = 0.3
        return {}

    def half_start(self, request: RunRequest) -> None:
        """The request has arrived, and the agent is gone before it is answered."""
        self.service().create("create", compose(request))

    def remove_behind_our_back(self, run: Run) -> None:
        assert isinstance(run, CustomJob)
        self.server.remove(run.name)

    def left(self) -> Sequence[str]:
        """Jobs that were cancelled before they had a machine never were a run."""
        return [
            name
            for name, job in self.server.jobs.items()
            if job["labels"][AGENT_LABEL] == agent_key(self.agent)
            and (
                job["state"] not in ("JOB_STATE_CANCELLED", "JOB_STATE_CANCELLING")
                or name in self.server.began
            )
        ]

    def close(self) -> None:
        for runner in self._made:
            runner.close()
