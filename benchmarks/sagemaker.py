"""The agent on SageMaker: training jobs a second, status calls of a thousand running jobs, memory.

A server of the tests speaks SageMaker's API on this machine, judges each request by the API's own model and
moves no job by itself. Calls are counted over two minutes, with a poll of ten seconds.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.stand import OURS
from benchmarks.upstream_agent import memory_of
from launch_agent.server.serve import Server
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.eventually import eventually
from tests.fakes.sagemaker_server import REGION, SageMakerServer
from tests.runners.sagemaker.bench import IMAGE, queue

RUNS = 1_000
_WINDOW = 120.0
_SETTLE = 30.0
_CALLS = ("ListTrainingJobs", "DescribeTrainingJob")
_AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stand:
    cloud: SageMakerServer
    backend: Backend
    agent: AgentProcess

    def push(self, count: int) -> None:
        spec = {"project": "p", "resource": "sagemaker", "docker": {"docker_image": IMAGE}}
        for _ in range(count):
            self.backend.push("q", spec)

    def started(self, count: int, within: float) -> None:
        eventually(lambda: len(self.cloud.jobs) >= count, within=within, every=0.05)


def measure() -> Iterator[Figure]:
    """About five minutes."""
    with tempfile.TemporaryDirectory() as folder, _stand(Path(folder)) as here:
        yield from _idle(here)
        yield from _many(here)


@contextmanager
def _stand(folder: Path) -> Iterator[_Stand]:
    with SageMakerServer(runs=False) as cloud, Server(data_dir=folder / "server", entity="team") as server:
        backend = Backend(url=server.url, api_key=server.api_key, entity="team")
        backend.create_queue("q", "sagemaker", queue())
        endpoints = {"sagemaker": cloud.url, "logs": cloud.url}
        more: dict[str, Any] = {
            "runner": {"sagemaker": {"endpoints": endpoints}},
            "builder": {"type": "noop"},
            "max_jobs": -1,
            "poll-interval": 1,
        }
        agent = AgentProcess(folder, server.url, server.api_key, _AWS, **more)
        config = json.loads(agent.config.read_text(encoding="utf-8"))
        config["environment"] = {"type": "aws", "region": REGION}
        agent.config.write_text(json.dumps(config), encoding="utf-8")
        with agent:
            yield _Stand(cloud=cloud, backend=backend, agent=agent)


def _idle(here: _Stand) -> Iterator[Figure]:
    """The memory once one job has come and gone."""
    here.push(1)
    here.started(1, 60)
    (name,) = here.cloud.jobs
    here.cloud.move(name, "Completed")
    eventually(lambda: "launch-agent/reported" in here.cloud.jobs[name].tags, within=120)
    time.sleep(10)
    memory = memory_of([here.agent.pid]).rss
    name = "resident memory, idle, sagemaker runner"
    yield Figure(name=name, subject=OURS, value=memory / 1e6, unit="MB", goal=70.0)
    here.cloud.jobs.clear()


def _many(here: _Stand) -> Iterator[Figure]:
    began = time.monotonic()
    here.push(RUNS)
    pushed = time.monotonic()
    here.started(RUNS, 600)
    seconds = time.monotonic() - began
    yield Figure(
        name="training jobs started a second", subject=OURS, value=RUNS / seconds, unit="1/s", goal=10.0,
        more_is_better=True, note=f"{RUNS} jobs; pushing them took {pushed - began:.0f} s of {seconds:.0f} s",
    )  # fmt: skip
    for name in here.cloud.jobs:
        here.cloud.move(name, "InProgress", "Training")
    # The changes of the last two minutes are listed again.
    time.sleep(_SETTLE + _WINDOW)
    before = {call: here.cloud.counts[call] for call in _CALLS}
    most, minute = 0, sum(before.values())
    for _ in range(int(_WINDOW // 60)):
        time.sleep(60)
        now = sum(here.cloud.counts[call] for call in _CALLS)
        most, minute = max(most, now - minute), now
    yield Figure(
        name=f"status calls a minute, {RUNS} running jobs", subject=OURS, value=most, unit="1/min", goal=12
    )
    memory = memory_of([here.agent.pid]).rss / 1e6
    yield Figure(name=f"resident memory, {RUNS} running jobs", subject=OURS, value=memory, unit="MB")
