from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from launch_agent.runners import Run
from launch_agent.runners.process import ProcessRunner
from launch_agent.spec import identity
from launch_agent.spec.model import RunRequest
from tests.contracts.runner import RunnerContract, identity_for
from tests.fakes.eventually import eventually


class ProcessBench:
    def __init__(self, work: Path) -> None:
        self.agent = f"agent-{uuid.uuid4().hex[:8]}"
        self.work = work

    def runner(self) -> ProcessRunner:
        return ProcessRunner(self.work, keep=False, grace=1)

    def request(self, **fields: Any) -> RunRequest:
        return RunRequest(identity=identity_for(self.agent), image="", **fields)

    def stubborn_args(self) -> Mapping[str, Any]:
        return {}

    def half_start(self, request: RunRequest) -> None:
        half = self.work / f"{identity.object_name(request.identity)}.new-1"
        half.mkdir(parents=True)
        (half / "run.json").write_text('{"labels"')

    def remove_behind_our_back(self, run: Run) -> None:
        supervisor = int((self.work / run.id / "lock").read_text())
        os.kill(supervisor, 9)

    def left(self) -> Sequence[str]:
        return [path.name for path in self.work.iterdir()] if self.work.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ProcessBench]:
    made = ProcessBench(tmp_path / "runs")
    yield made
    for run in made.runner().adopt(made.agent):
        run.cancel()
        eventually(lambda run=run: run.status().state.is_terminal)  # type: ignore[misc]
        shutil.rmtree(made.work / run.id)


class TestProcessRunner(RunnerContract):
    pass
