"""SageMaker throttled, broken, with other credentials; and an agent that dies at each step."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from launch_agent.errors import CloudError, RunnerError
from launch_agent.runners.sagemaker import service as services
from launch_agent.runners.sagemaker.runner import SageMakerRunner
from launch_agent.runners.sagemaker.service import Service
from launch_agent.spec.model import RunState
from tests.contracts.runner import AGENT, end_of
from tests.fakes.eventually import eventually
from tests.fakes.loopback import Raw
from tests.fakes.sagemaker_server import REGION, Refusal, SageMakerServer, cut_off
from tests.runners.sagemaker.bench import SageMakerBench

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK pauses for up to twenty seconds between its tries."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)


def test_throttling_is_waited_out(server: SageMakerServer, desk: SageMakerBench) -> None:
    server.fail("CreateTrainingJob", "ThrottlingException", "Rate exceeded", times=3)
    server.fail("ListTrainingJobs", "ThrottlingException", "Rate exceeded", times=9)
    run = desk.runner().submit(desk.request())
    server.move(run.id, "Completed")
    eventually(lambda: not server.faults["ListTrainingJobs"])
    eventually(lambda: _state(run.status) is RunState.FINISHED)


@pytest.mark.parametrize("status", [500, 503])
def test_a_service_that_is_broken_says_nothing_of_a_run(
    server: SageMakerServer, desk: SageMakerBench, status: int
) -> None:
    run = desk.runner().submit(desk.request())
    server.fail("ListTrainingJobs", "InternalFailure", status=status, times=1_000)
    eventually(lambda: _state(run.status) is None)
    with pytest.raises(RunnerError) as failed:
        run.status()
    assert failed.value.retryable
    server.faults.clear()
    eventually(lambda: _state(run.status) is RunState.STARTING)


def test_a_failure_whose_reason_cannot_be_read_yet_is_no_end(
    server: SageMakerServer, desk: SageMakerBench
) -> None:
    run = desk.runner().submit(desk.request())
    server.fail("DescribeTrainingJob", "ThrottlingException", times=8)
    server.move(run.id, "Failed", reason="AlgorithmError: , exit code: 3")
    eventually(lambda: _state(run.status) is None)
    eventually(lambda: _state(run.status) is RunState.FAILED)
    assert end_of(run).exit_code == 3


def test_credentials_that_expire_are_asked_for_anew(server: SageMakerServer, desk: SageMakerBench) -> None:
    desk.keys = ["old", "new"]
    run = desk.runner().submit(desk.request())
    server.expired = {"old"}
    server.move(run.id, "InProgress", "Training")
    eventually(lambda: _state(run.status) is RunState.RUNNING)
    assert server.keys[-1] == "new"


def test_credentials_that_stay_expired_fail_no_run(server: SageMakerServer, desk: SageMakerBench) -> None:
    desk.keys = ["old", "old", "old", "new"]
    run = desk.runner().submit(desk.request())
    server.expired = {"old"}
    server.move(run.id, "Completed")
    eventually(lambda: _state(run.status) is RunState.FINISHED)
    assert "new" in server.keys


def test_an_agent_without_credentials_waits_for_them(server: SageMakerServer, desk: SageMakerBench) -> None:
    def none() -> None:
        raise CloudError("cannot find AWS credentials: there are none", hint="give it some")

    endpoints = {"sagemaker": server.url, "logs": server.url}
    runner = SageMakerRunner(Service(none, region=REGION, endpoints=endpoints))
    with pytest.raises(RunnerError, match="there are none") as failed:
        runner.submit(desk.request())
    assert failed.value.retryable


def test_a_service_that_does_not_answer_is_given_up(
    server: SageMakerServer, desk: SageMakerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_READ_SECONDS", 0.2)
    server.faults["ListTrainingJobs"] = [lambda: _wait(server)] * 4
    with pytest.raises(RunnerError, match="list training jobs") as failed:
        desk.runner().verify()
    assert failed.value.retryable
    server.refuse()
    with pytest.raises(RunnerError, match="reachable") as failed:
        desk.runner().verify()
    assert failed.value.retryable


def _wait(server: SageMakerServer) -> None:
    server.closing.wait(5)


def test_a_submit_whose_answer_is_lost_has_started_one_job(
    server: SageMakerServer, desk: SageMakerBench
) -> None:
    """The SDK sends it again, and finds the name taken: by this very job."""
    lost = iter([cut_off()])
    server.after["CreateTrainingJob"] = lambda: next(lost, None)
    request = desk.request()
    run = desk.runner().submit(request)
    assert run.identity == request.identity
    assert len(server.jobs) == 1
    assert server.counts["CreateTrainingJob"] == 2


def test_a_job_that_is_deleted_while_its_name_is_taken_is_created_by_the_next_try(
    server: SageMakerServer, desk: SageMakerBench
) -> None:
    server.fail("CreateTrainingJob", "ResourceInUse", "there is one of this name")
    with pytest.raises(RunnerError) as failed:
        desk.runner().submit(desk.request())
    assert failed.value.retryable


# What has been asked for when the agent dies: before it acts, or once it has acted.
STEPS = ("before create", "after create")


@pytest.fixture(params=STEPS)
def deadly(request: pytest.FixtureRequest, server: SageMakerServer) -> Iterator[Callable[[int], None]]:
    """Makes the server kill a process at a step, once."""

    def arm(pid: int) -> None:
        if request.param == "before create":
            server.faults["CreateTrainingJob"] = [lambda: _refuse(pid)]
        else:
            victims = iter([pid])
            server.after["CreateTrainingJob"] = lambda: _kill(next(victims, 0))

    yield arm
    server.after.clear()


def _refuse(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    raise Refusal("InternalFailure", "too late", 500)


def _kill(pid: int) -> Raw | None:
    if not pid:
        return None
    os.kill(pid, signal.SIGKILL)
    return cut_off()


def test_an_agent_that_dies_while_it_submits_leaves_one_job_at_most(
    server: SageMakerServer, desk: SageMakerBench, deadly: Callable[[int], None]
) -> None:
    request = desk.request()
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT.format(runner=desk.in_another_process())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadly(agent.pid)
    agent.communicate(pickle.dumps(request), timeout=60)
    assert agent.returncode == -signal.SIGKILL
    adopted = desk.runner().adopt(desk.agent)
    assert {run.identity for run in adopted} <= {request.identity}
    run = desk.runner().submit(request)
    assert [job.name for job in server.jobs.values()] == [run.id]


def test_an_end_that_nobody_heard_of_is_heard_of_by_the_next_agent(
    server: SageMakerServer, desk: SageMakerBench
) -> None:
    """Killed before the end, before it is told, and before it is marked as told."""
    first = desk.runner(keep=True)
    run = first.submit(desk.request())
    first.close()
    server.move(run.id, "Failed", reason="AlgorithmError: , exit code: 9")
    for _ in range(2):
        (found,) = desk.runner(keep=True).adopt(desk.agent)
        assert found.status().exit_code == 9
    found.release()
    assert desk.runner(keep=True).adopt(desk.agent) == []


def test_a_stop_that_was_sent_is_a_stop_for_the_next_agent(
    server: SageMakerServer, desk: SageMakerBench
) -> None:
    first = desk.runner()
    run = first.submit(desk.request())
    run.cancel()
    eventually(lambda: server.jobs[run.id].status == "Stopping")
    first.close()
    (found,) = desk.runner().adopt(desk.agent)
    assert found.status().state is RunState.STOPPING
    server.move(run.id, "Stopped")
    assert end_of(found).state is RunState.STOPPED


def test_what_disappears_while_it_is_adopted_is_left_out(
    server: SageMakerServer, desk: SageMakerBench
) -> None:
    runs = [desk.runner().submit(desk.request()) for _ in range(3)]
    server.faults["ListTags"] = [lambda: _lose(server, runs[0].id)]
    found = desk.runner().adopt(desk.agent)
    assert {run.id for run in found} <= {run.id for run in runs[1:]}


def test_submits_at_the_same_time_start_one_job(server: SageMakerServer, desk: SageMakerBench) -> None:
    request = desk.request()
    runner = desk.runner()
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: runner.submit(request), range(8)))
    assert {run.id for run in runs} == set(server.jobs)
    server.move(runs[0].id, "Completed")
    assert {end_of(run).state for run in runs} == {RunState.FINISHED}


def _lose(server: SageMakerServer, name: str) -> None:
    del server.jobs[name]


def _state(status: Callable[[], object]) -> object:
    """The state, or None where it cannot be told."""
    try:
        return getattr(status(), "state", None)
    except RunnerError:
        return None
