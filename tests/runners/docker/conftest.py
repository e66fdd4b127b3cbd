"""The bench of the Docker runner, for all of its tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from launch_agent.runners import Run
from launch_agent.runners.docker import create
from launch_agent.runners.docker.arguments import parse
from launch_agent.runners.docker.creation import make
from launch_agent.runners.docker.listing import list_containers
from launch_agent.runners.docker.runner import DockerRunner
from launch_agent.spec.model import RunRequest
from tests.contracts.runner import identity_for
from tests.fakes.docker_engine import TestEngine


class DockerBench:
    """An engine, an image and an agent's name of its own."""

    def __init__(self, engine: TestEngine, image: str) -> None:
        self.agent = f"agent-{uuid.uuid4().hex[:8]}"
        self.engine = engine
        self.image = image
        self.made: list[DockerRunner] = []

    def runner(self, **options: Any) -> DockerRunner:
        runner = create({"host": self.engine.host, "network": self.engine.network, **options})
        assert isinstance(runner, DockerRunner)
        self.made.append(runner)
        return runner

    def in_another_process(self) -> str:
        options = {"host": self.engine.host, "network": self.engine.network}
        return f"__import__('launch_agent.runners.docker', fromlist=['create']).create({options!r})"

    def request(self, **fields: Any) -> RunRequest:
        return RunRequest(**{"identity": identity_for(self.agent), "image": self.image, **fields})

    def stubborn_args(self) -> Mapping[str, Any]:
        return {"stop-timeout": 1}

    def half_start(self, request: RunRequest) -> None:
        creation = make(request, parse(request.resource_args), network="none", desktop=False)
        self.engine.client.create_container_from_config(dict(creation.body), creation.name)

    def remove_behind_our_back(self, run: Run) -> None:
        self.engine.client.remove_container(run.id, force=True)

    def containers(self) -> Mapping[str, Mapping[str, Any]]:
        return list_containers(self.engine.client, self.agent)

    def left(self) -> Sequence[str]:
        return list(self.containers())


@pytest.fixture
def bench(docker_engine: TestEngine, tiny_image: str) -> Iterator[DockerBench]:
    made = DockerBench(docker_engine, tiny_image)
    yield made
    for runner in made.made:
        runner.close()
    for container in made.containers():
        docker_engine.client.remove_container(container, force=True, v=True)
