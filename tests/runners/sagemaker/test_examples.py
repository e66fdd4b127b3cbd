"""The examples of queues run as they stand, and a whole agent takes jobs of one to their ends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.server.serve import Server
from launch_agent.spec.model import RunState
from tests.contracts.runner import end_of
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.eventually import eventually
from tests.fakes.sagemaker_server import REGION, SageMakerServer
from tests.runners.sagemaker.bench import IMAGE, SageMakerBench

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "queue-configs").glob("sagemaker*.yaml"))
SPOT = next(file for file in EXAMPLES if file.stem == "sagemaker-spot")
MACRO = re.compile(r"\$\{\w+\}")
AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
pytestmark = pytest.mark.timeout(180)


def example(file: Path) -> dict[str, Any]:
    found = yaml.safe_load(file.read_text(encoding="utf-8").replace('"{{instance_type}}"', "ml.m5.xlarge"))
    assert isinstance(found, dict)
    return found


@pytest.mark.req("SM-6", "SM-7")
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_queue_of_the_examples_runs_jobs(file: Path) -> None:
    """Every key of the file is in the request that the API's model has taken."""
    with SageMakerServer() as server:
        desk = SageMakerBench(server)
        words = ["sh", "-c", "echo $0", "hello"]
        run = desk.runner().submit(desk.request(resource_args=example(file), entry_point=words))
        assert end_of(run).state is RunState.FINISHED
        assert run.logs(10) == "hello\n"
        asked = server.jobs[run.id].request
        for key, value in example(file).items():
            if key not in ("Tags", "AlgorithmSpecification"):
                assert asked[key] == value
        desk.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[SageMakerServer, Backend, AgentProcess]]:
    with SageMakerServer() as cloud, Server(data_dir=tmp_path / "server", entity="team") as server:
        backend = Backend(url=server.url, api_key=server.api_key, entity="team")
        agent = AgentProcess(
            tmp_path,
            server.url,
            server.api_key,
            AWS,
            runner={
                "sagemaker": {"poll": 1, "endpoints": {"sagemaker": cloud.url, "logs": cloud.url}},
            },
            policy={"sagemaker": {"instance-types": ["ml.m5.*"], "max-instances": 1}},
            builder={"type": "noop"},
        )
        config = json.loads(agent.config.read_text())
        agent.config.write_text(json.dumps({**config, "environment": {"type": "aws", "region": REGION}}))
        yield cloud, backend, agent


def job(*words: str, **args: Any) -> dict[str, Any]:
    return {
        "project": "p",
        "resource": "sagemaker",
        "docker": {"docker_image": IMAGE},
        "overrides": {"entry_point": list(words), "run_config": {"text": "ä" * 2_000}},
        **({"resource_args": {"sagemaker": args}} if args else {}),
    }


def ended(backend: Backend, item: str, state: str) -> dict[str, Any]:
    def probe() -> dict[str, Any]:
        found = backend.item(item)
        assert found["detailedState"] == state, found
        return found

    return eventually(probe, within=60)


@pytest.mark.req("SM-1", "SM-7", "SM-8")
def test_a_whole_agent_takes_jobs_to_their_ends(
    site: tuple[SageMakerServer, Backend, AgentProcess],
) -> None:
    cloud, backend, agent = site
    queue = example(SPOT)
    queue["ResourceConfig"]["InstanceType"] = "ml.m5.xlarge"
    backend.create_queue("q", "sagemaker", queue)
    larger = {**queue["ResourceConfig"], "InstanceType": "ml.p5.48xlarge", "InstanceCount": 2}
    with agent:
        good = backend.push("q", job("sh", "-c", "test ${#WANDB_CONFIG_0} = 512"))
        bad = backend.push("q", job("sh", "-c", "echo last words; exit 7"))
        wrong = backend.push("q", job("true", RoleArn=""))
        large = backend.push("q", job("true", ResourceConfig=larger))
        ended(backend, good, "FINISHED")
        failed = ended(backend, bad, "FAILED")
        refused = [ended(backend, item, "FAILED")["error"]["message"] for item in (wrong, large)]
        assert "exit code 7" in failed["error"]["message"]
        assert "resource_args.sagemaker.RoleArn is missing" in refused[0]
        assert "asks for 2 instances" in refused[1]
        assert "ml.p5.48xlarge" in refused[1]
    assert len(cloud.jobs) == 2
    assert {tag for each in cloud.jobs.values() for tag in each.tags} >= {"launch-agent/reported"}
    asked = next(iter(cloud.jobs.values())).request
    run_id = asked["Environment"]["WANDB_RUN_ID"]
    assert not MACRO.search(str({**asked, "AlgorithmSpecification": ""}))
    assert asked["OutputDataConfig"]["S3OutputPath"] == f"s3://my-bucket/p/{run_id}"
    assert asked["Environment"]["WANDB_API_KEY"] not in agent.log
