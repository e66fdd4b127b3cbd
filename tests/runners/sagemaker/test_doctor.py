"""What `doctor` says of SageMaker: whether it can be used, and which right is missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch_agent.config import load
from launch_agent.control import doctor, wiring
from launch_agent.control.doctor import Check
from tests.fakes import policies
from tests.fakes.moto_server import Aws, aws
from tests.fakes.sagemaker_server import REGION, SageMakerServer


@pytest.fixture(scope="module")
def cloud() -> Iterator[Aws]:
    """For STS, which tells who the agent is."""
    with aws() as found:
        yield found


@pytest.fixture
def check(
    server: SageMakerServer, cloud: Aws, tmp_path: Path, bare_environment: pytest.MonkeyPatch
) -> Callable[[], dict[str, Check]]:
    for name, value in cloud.variables.items():
        bare_environment.setenv(name, value)
    file = tmp_path / "launch-config.yaml"
    file.write_text(
        f"queues: [q]\nbase_url: http://127.0.0.1:9\nbuilder: {{type: noop}}\n"
        f"environment: {{type: aws, region: {REGION}}}\n"
        f"runner: {{sagemaker: {{endpoints: {{sagemaker: '{server.url}', logs: '{server.url}'}}}}}}\n"
    )

    def run() -> dict[str, Check]:
        config = load.load(file, {"WANDB_API_KEY": "k" * 40, "HOME": str(tmp_path)})
        options = wiring.runner_options(config, {})
        return {found.name: found for found in doctor.examine(config, os.environ, options)}

    return run


def test_sagemaker_can_be_used(check: Callable[[], dict[str, Check]], server: SageMakerServer) -> None:
    found = check()
    assert found["environment aws"].error is None
    assert found["target sagemaker"].error is None
    assert not server.jobs


@pytest.mark.req("SM-1")
def test_a_right_that_is_missing_is_named(
    check: Callable[[], dict[str, Check]], server: SageMakerServer
) -> None:
    server.policies = [policies.sagemaker(region=REGION, account="1", role="r", key="k")]
    error = check()["target sagemaker"].error
    assert error is not None
    assert "allow the agent sagemaker:ListTrainingJobs" in error.hint
