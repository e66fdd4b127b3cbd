"""An agent that ends between any two of its requests: one job is started, and its end is told."""

from __future__ import annotations

import itertools

import pytest

from launch_agent.errors import RunnerError
from launch_agent.runners.sagemaker.runner import SageMakerRunner
from launch_agent.spec.model import RunRequest, RunState
from tests.contracts.runner import POLITE
from tests.fakes.eventually import eventually
from tests.fakes.sagemaker_server import SageMakerServer
from tests.runners.sagemaker.bench import SageMakerBench

pytestmark = pytest.mark.timeout(120)

STEPS = {
    True: ["ListTrainingJobs", "CreateTrainingJob", "StopTrainingJob", "AddTags"],
    False: ["CreateTrainingJob", "StopTrainingJob", "DeleteTrainingJob"],
}
CASES = [(keep, step) for keep, steps in STEPS.items() for step in steps]
# What the second agent asks for, which the first did not: it finds the job.
FINDING = ["ListTags", "DescribeTrainingJob"]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)


class Life:
    """An agent from its start to the end of its one job. `told` is what the backend has heard."""

    def __init__(self, server: SageMakerServer, request: RunRequest, *, keep: bool) -> None:
        self.server, self.request, self.keep = server, request, keep
        self.desk = SageMakerBench(server)
        self.told: list[RunState] = []
        self.names: set[str] = set()

    def live(self, key: str) -> None:
        self.desk.keys = [key]
        runner = self.desk.runner(keep=self.keep)
        try:
            self._live(runner, key)
        except RunnerError:
            assert key in self.server.dead
        finally:
            runner.close()
            self.names |= set(self.server.jobs)

    def _live(self, runner: SageMakerRunner, key: str) -> None:
        runs = runner.adopt(self.request.identity.agent)
        if not runs and self.told:
            return  # the journal has no such item any more
        assert len(runs) <= 1
        run = runs[0] if runs else runner.submit(self.request)
        self.names.add(run.id)
        run.cancel()

        def ended() -> bool:
            try:
                return run.status().state.is_terminal
            except RunnerError:
                return key in self.server.dead

        eventually(ended, within=30, every=0.02)
        self.told.append(run.status().state)
        run.release()


@pytest.mark.parametrize("acts", [False, True])
@pytest.mark.parametrize(("keep", "step"), CASES)
def test_the_next_agent_goes_on(keep: bool, step: str, acts: bool) -> None:
    with SageMakerServer() as server:
        bench = SageMakerBench(server)
        request = bench.request(entry_point=["sh", "-c", POLITE])
        life = Life(server, request, keep=keep)
        server.dies_at = (step, acts)
        life.live("first")
        assert server.dead == {"first"}, step
        life.live("second")
        check(life)


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.product(["StopTrainingJob", "AddTags"], FINDING))
)
def test_the_one_after_the_next_goes_on_too(first: str, second: str) -> None:
    with SageMakerServer() as server:
        bench = SageMakerBench(server)
        life = Life(server, bench.request(entry_point=["sh", "-c", POLITE]), keep=True)
        for key, step in (("first", first), ("second", second)):
            server.dies_at = (step, False)
            life.live(key)
        assert server.dead == {"first", "second"}
        life.live("third")
        check(life)


def check(life: Life) -> None:
    assert life.told
    assert set(life.told) == {RunState.STOPPED}
    assert len(life.names) == 1
    assert len(life.server.jobs) == life.keep
    left = SageMakerBench(life.server).runner(keep=life.keep).adopt(life.request.identity.agent)
    assert left == []
