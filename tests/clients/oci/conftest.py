"""A repository of its own for each test, in registries shared by the session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.repository import Repository


@pytest.fixture
def client(docker_registry: str) -> Iterator[RegistryClient]:
    made = RegistryClient(docker_registry)
    yield made
    made.close()


@pytest.fixture
def repository(client: RegistryClient) -> Repository:
    return Repository(client, f"tests/r{uuid.uuid4().hex[:12]}")
