"""A SageMaker whose jobs run, and one whose jobs are moved by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.sagemaker_server import SageMakerServer
from tests.runners.sagemaker.bench import SageMakerBench


@pytest.fixture
def server() -> Iterator[SageMakerServer]:
    with SageMakerServer(runs=False) as made:
        yield made


@pytest.fixture
def desk(server: SageMakerServer) -> Iterator[SageMakerBench]:
    made = SageMakerBench(server)
    yield made
    made.close()
