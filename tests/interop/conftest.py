"""One server and one home for the real package, for each module and test here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launch_agent.server.serve import Server
from tests.fakes.backend import Backend
from tests.fakes.wandb_sandbox import WandbSandbox
from tests.fixtures.interop import wandb_image, wandb_python
from tests.interop import targets

__all__ = ["wandb_image", "wandb_python"]  # pytest finds a fixture by its name here


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A server of our own on a free port, and a client that looks into it."""
    with Server(data_dir=tmp_path_factory.mktemp("server"), entity="team") as server:
        yield Backend(url=server.url, api_key=server.api_key, entity=server.entity)


@pytest.fixture
def sandbox(wandb_python: Path, backend: Backend) -> Iterator[WandbSandbox]:
    """A home for the real package, pointed at `backend`; all its processes are ended with the test."""
    made = WandbSandbox(wandb_python, backend.url, backend.api_key)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=["local-process", pytest.param("local-container", marks=pytest.mark.docker)])
def target(request: pytest.FixtureRequest, wandb_python: Path) -> targets.Target:
    """Each target resource on which jobs can run here."""
    if request.param == "local-process":
        return targets.processes(wandb_python)
    engine = request.getfixturevalue("docker_engine")
    return targets.containers(request.getfixturevalue("wandb_image"), engine.host)
