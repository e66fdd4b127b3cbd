"""Throttling, broken servers, expired credentials, two agents, an agent that dies at any step: one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launch_agent.errors import RunnerError, SubmitRejected
from launch_agent.runners.vertex.run import CustomJob
from launch_agent.spec.model import RunState
from launch_agent.spec.secret import Secret
from tests.contracts.runner import identity_for
from tests.fakes.custom_jobs import CustomJobs
from tests.fakes.eventually import eventually
from tests.fakes.google_tokens import GoogleTokens
from tests.runners.vertex.bench import VertexBench

pytestmark = pytest.mark.timeout(120)


def state_of(run: Any) -> RunState | None:
    try:
        state: RunState = run.status().state
    except RunnerError:
        return None
    return state


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_asked_again(server: CustomJobs, desk: VertexBench, status: int) -> None:
    """A few refusals go unnoticed; more make the run's state unknown, and never a failure."""
    runner = desk.runner()
    server.refusals = [(status, "come back later")] * 2
    run = runner.submit(desk.request())
    assert isinstance(run, CustomJob)
    assert run.status().state is RunState.STARTING
    server.refusals = [(status, "come back later")] * 8
    eventually(lambda: state_of(run) is None, within=20)
    with pytest.raises(RunnerError) as unknown:
        run.status()
    assert unknown.value.retryable
    server.refusals = []
    server.set_state(run.name, "RUNNING")
    eventually(lambda: state_of(run) is RunState.RUNNING, within=20)


@pytest.mark.parametrize("acts", [False, True])
@pytest.mark.parametrize("status", [429, 503])
def test_a_creation_that_is_refused_for_now_is_made_once(
    server: CustomJobs, desk: VertexBench, status: int, acts: bool
) -> None:
    """A broken answer may come after the job was made: what is asked for again is looked for first."""
    runner, asked = desk.runner(), desk.request()
    server.broken_creates = [(status, "come back later", acts)]
    with pytest.raises(RunnerError) as broken:
        runner.submit(asked)
    assert broken.value.retryable
    assert runner.submit(asked).identity == asked.identity
    assert len(server.jobs) == 1


def test_credentials_that_expire_in_mid_run_are_renewed(
    server: CustomJobs, desk: VertexBench, tokens: GoogleTokens
) -> None:
    run = desk.runner().submit(desk.request())
    assert isinstance(run, CustomJob)
    before = tokens.issued
    server.takes = lambda sent: sent == f"ya29.{tokens.issued}" and tokens.issued > before
    server.set_state(run.name, "RUNNING")
    eventually(lambda: state_of(run) is RunState.RUNNING, within=20)
    assert tokens.issued > before


def test_a_short_lived_token_is_refreshed_before_it_ends(
    server: CustomJobs, desk: VertexBench, tokens: GoogleTokens
) -> None:
    tokens.lifetime = 1  # google-auth calls a token stale minutes before its end
    runner = desk.runner()
    runner.submit(desk.request())
    assert tokens.issued > 1


def test_an_account_that_is_gone_makes_no_failed_run(
    server: CustomJobs, desk: VertexBench, tokens: GoogleTokens
) -> None:
    run = desk.runner().submit(desk.request())
    assert isinstance(run, CustomJob)
    tokens.disabled = True
    server.takes = lambda sent: False
    eventually(lambda: state_of(run) is None, within=20)
    with pytest.raises(RunnerError, match="access token"):
        run.status()
    tokens.disabled = False
    server.takes = lambda sent: True
    eventually(lambda: state_of(run) is RunState.STARTING, within=20)


def test_a_job_that_somebody_deletes_has_failed(server: CustomJobs, desk: VertexBench) -> None:
    run = desk.runner().submit(desk.request())
    assert isinstance(run, CustomJob)
    server.remove(run.name)
    eventually(lambda: state_of(run) is RunState.FAILED, within=20)
    assert run.status().reason == "JobDeleted"
    run.cancel()
    run.release()
    run.release()


def test_a_job_of_the_same_name_that_is_not_ours_is_left_alone(server: CustomJobs, desk: VertexBench) -> None:
    """Display names are not unique, and labels are anybody's: the run's own variables decide."""
    asked = desk.request()
    runner = desk.runner()
    first = runner.submit(asked)
    (job,) = server.jobs.values()
    job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"] = []
    second = runner.submit(asked)
    assert first.id == second.id
    assert len(server.jobs) == 2
    assert all(job["state"] == "JOB_STATE_PENDING" for job in server.jobs.values())
    assert [run.identity for run in desk.runner().adopt(desk.agent)] == [asked.identity]


def test_a_stop_is_sent_until_it_arrives(server: CustomJobs, desk: VertexBench) -> None:
    run = desk.runner().submit(desk.request())
    assert isinstance(run, CustomJob)
    server.set_state(run.name, "RUNNING")
    server.refusals = [(500, "no")] * 5
    run.cancel()
    run.cancel()
    eventually(lambda: server.jobs[run.name]["state"] == "JOB_STATE_CANCELLING", within=30)
    eventually(lambda: state_of(run) is RunState.STOPPING, within=20)
    server.set_state(run.name, "CANCELLED")
    eventually(lambda: state_of(run) is RunState.STOPPED, within=20)
    assert server.counts["cancel"] >= 1


def test_a_stop_of_a_job_that_has_just_ended_changes_nothing(server: CustomJobs, desk: VertexBench) -> None:
    run = desk.runner().submit(desk.request())
    assert isinstance(run, CustomJob)
    server.set_state(run.name, "SUCCEEDED")
    run.cancel()
    eventually(lambda: state_of(run) is RunState.FINISHED, within=20)


# A submit is three requests: a look, the creation, another look. `acts` says whether the request at which the
# agent dies has reached the service.
STEPS = [(step, acts) for step in range(4) for acts in (False, True)]


@pytest.mark.parametrize(("step", "acts"), STEPS)
def test_an_agent_that_dies_at_any_step_starts_one_run(
    server: CustomJobs, desk: VertexBench, step: int, acts: bool
) -> None:
    asked = desk.request()
    first = desk.runner()
    first.verify()
    server.die(step, acts=acts)
    if step < 3:
        with pytest.raises(RunnerError):
            first.submit(asked)
    else:
        first.submit(asked)
    first.close()
    server.revive()
    second = desk.runner()
    adopted = {run.identity.item_id for run in second.adopt(desk.agent)}
    run = second.submit(asked)
    assert isinstance(run, CustomJob)
    live = [job for job in server.jobs.values() if job["state"] == "JOB_STATE_PENDING"]
    assert [job["name"] for job in live] == [run.name]
    assert adopted <= {asked.identity.item_id}
    assert [each.identity for each in desk.runner().adopt(desk.agent)] == [asked.identity]


def test_a_creation_that_arrives_late_is_cancelled(server: CustomJobs, desk: VertexBench) -> None:
    """The first agent's request was on its way when the second looked."""
    asked = desk.request()
    run = desk.runner().submit(asked)
    assert isinstance(run, CustomJob)
    desk.half_start(asked)
    late = max(server.jobs, key=lambda name: server.jobs[name]["createTime"])
    assert late != run.name
    eventually(lambda: server.jobs[late]["state"] == "JOB_STATE_CANCELLING", within=20)
    assert server.jobs[run.name]["state"] == "JOB_STATE_PENDING"
    assert [each.identity for each in desk.runner().adopt(desk.agent)] == [asked.identity]


def test_an_item_that_is_back_in_its_queue_runs_once_more(server: CustomJobs, desk: VertexBench) -> None:
    asked = desk.request()
    run = desk.runner(keep=True).submit(asked)
    assert isinstance(run, CustomJob)
    server.set_state(run.name, "CANCELLED")
    eventually(lambda: state_of(run) is RunState.STOPPED, within=20)
    run.release()
    again = desk.runner(keep=True).submit(asked)
    assert isinstance(again, CustomJob)
    assert again.name != run.name
    assert again.status().state is RunState.STARTING


def test_without_its_state_folder_an_agent_tells_an_end_twice_and_starts_nothing(
    server: CustomJobs, desk: VertexBench, tmp_path: Path
) -> None:
    run = desk.runner(keep=True).submit(desk.request())
    assert isinstance(run, CustomJob)
    server.set_state(run.name, "SUCCEEDED")
    eventually(lambda: state_of(run) is RunState.FINISHED, within=20)
    run.release()
    assert desk.runner(keep=True).adopt(desk.agent) == []
    (tmp_path / "vertex-told").unlink()
    (adopted,) = desk.runner(keep=True).adopt(desk.agent)
    assert adopted.status().state is RunState.FINISHED
    assert len(server.jobs) == 1


def test_no_secret_is_in_what_the_api_says(server: CustomJobs, desk: VertexBench) -> None:
    asked = desk.request(secret_env={"WANDB_API_KEY": Secret("hush-hush-hush")})
    server.broken_creates = [(400, 'Invalid value at env[0]: {"value": "hush-hush-hush"}', False)]
    with pytest.raises(SubmitRejected) as refused:
        desk.runner().submit(asked)
    assert "hush" not in str(refused.value)
    assert not server.jobs


def test_the_jobs_of_another_agent_are_not_seen(server: CustomJobs, desk: VertexBench) -> None:
    runner = desk.runner()
    runner.submit(desk.request())
    runner.submit(desk.request(identity=identity_for("another")))
    assert len(runner.adopt("another")) == 1
