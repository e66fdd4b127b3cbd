"""A server for each test, on a free port, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launch_agent.server.serve import Server
from tests.fakes.backend import Backend
from tests.fakes.clock import Clock
from tests.fakes.wire import Wire


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Iterator[Server]:
    with Server(data_dir=tmp_path / "data", entity="team", clock=clock) as started:
        yield started


@pytest.fixture
def backend(server: Server) -> Backend:
    return Backend(url=server.url, api_key=server.api_key, entity=server.entity)


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    made = Wire(url=server.url, api_key=server.api_key)
    yield made
    made.close()
