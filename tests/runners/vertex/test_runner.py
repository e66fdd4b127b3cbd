"""Custom jobs, with google-auth and a key of the tests, on a server that knows the API's description."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.errors import ConfigError, RunnerError, SubmitRejected
from launch_agent.runners.vertex import create
from launch_agent.runners.vertex.request import camel, compose, identity_of
from launch_agent.runners.vertex.runner import VertexRunner
from launch_agent.runners.vertex.states import status_of
from launch_agent.spec import macros
from launch_agent.spec.model import RunIdentity, RunRequest, RunState
from launch_agent.spec.secret import Secret
from tests.fakes.custom_jobs import CustomJobs
from tests.fakes.google_tokens import GoogleTokens

EXAMPLE = Path(__file__).parents[3] / "examples" / "queue-configs" / "vertex.yaml"
PLACE = "projects/treasure/locations/europe-west4/customJobs"


def identity(item: str = "") -> RunIdentity:
    item = item or uuid.uuid4().hex
    return RunIdentity(
        agent="agent é",
        item_id=item,
        queue="gpu queue",
        queue_entity="acme",
        run_id=item[:8],
        entity="acme",
        project="Été 2026",
    )


def request(**fields: Any) -> RunRequest:
    image = "europe-docker.pkg.dev/treasure/jobs/train@sha256:" + "0" * 64
    args = macros.fill(yaml.safe_load(EXAMPLE.read_text()), {"image_uri": image})
    usual: dict[str, Any] = {
        "identity": identity(),
        "image": image,
        "entry_point": ["python", "train.py"],
        "args": ["--lr", "0.1"],
        "env": {"WANDB_PROJECT": "p"},
        "secret_env": {"WANDB_API_KEY": Secret("hush")},
        "resource_args": args,
    }
    return RunRequest(**{**usual, **fields})


@pytest.fixture
def jobs() -> Iterator[CustomJobs]:
    with CustomJobs(token="ya29.") as server:
        yield server


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleTokens]:
    with GoogleTokens(tmp_path) as made:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(made.key_file))
        yield made


@pytest.fixture
def runner(jobs: CustomJobs, tokens: GoogleTokens) -> Iterator[VertexRunner]:
    made = create(
        {
            "environment": {"type": "gcp", "project": "treasure", "region": "europe-west4"},
            "endpoints": {"aiplatform": jobs.url, "logging": jobs.url},
        }
    )
    assert isinstance(made, VertexRunner)
    made._fresh = 0.0
    made.verify()
    yield made
    made.close()


def test_a_job_runs_to_its_end(jobs: CustomJobs, runner: VertexRunner) -> None:
    asked = request()
    run = runner.submit(asked)
    ((name, job),) = jobs.jobs.items()
    container = job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
    assert container["imageUri"] == asked.image
    assert (container["command"], container["args"]) == (["python", "train.py"], ["--lr", "0.1"])
    assert {"name": "WANDB_API_KEY", "value": "hush"} in container["env"]
    assert job["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"].startswith("gs://my-bucket/launch-agent/")
    assert identity_of(job) == asked.identity
    assert run.status().state is RunState.STARTING
    jobs.set_state(name, "RUNNING")
    assert run.status().state is RunState.RUNNING
    jobs.logs[name] = [f"line {number}" for number in range(50)]
    assert run.logs(2) == "line 48\nline 49\n"
    jobs.set_state(name, "SUCCEEDED")
    assert run.status().state is RunState.FINISHED
    run.release()
    assert name in jobs.jobs


def test_what_is_submitted_twice_runs_once(jobs: CustomJobs, runner: VertexRunner) -> None:
    asked = request()
    first = runner.submit(asked)
    assert runner.submit(asked).id == first.id
    assert len(jobs.jobs) == 1


def test_of_submits_at_the_same_time_one_survives(jobs: CustomJobs, runner: VertexRunner) -> None:
    """The API has no names to collide on; the oldest job wins, whoever looks."""
    asked = request()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: runner.submit(asked), range(6)))
    runner.submit(asked)
    live = [job for job in jobs.jobs.values() if job["state"] == "JOB_STATE_PENDING"]
    assert len(live) == 1
    assert live[0]["createTime"] == min(job["createTime"] for job in jobs.jobs.values())


def test_runs_are_found_again_after_a_restart(jobs: CustomJobs, runner: VertexRunner) -> None:
    asked = [request() for _ in range(3)]
    for each in asked:
        runner.submit(each)
    jobs.set_state(next(iter(jobs.jobs)), "FAILED", error={"code": 3, "message": "exit code: 7"})
    runner.submit(replace(request(), identity=replace(identity(), agent="another")))
    found = runner.adopt("agent é")
    assert {run.identity for run in found} == {each.identity for each in asked}
    assert sorted(run.status().state for run in found) == ["failed", "starting", "starting"]


def test_a_stop_is_a_stop(jobs: CustomJobs, runner: VertexRunner) -> None:
    run = runner.submit(request())
    run.cancel()
    run.cancel()
    assert run.status().state is RunState.STOPPING
    jobs.set_state(next(iter(jobs.jobs)), "CANCELLED")
    assert run.status().state is RunState.STOPPED


def test_a_job_that_somebody_deletes_has_failed(jobs: CustomJobs, runner: VertexRunner) -> None:
    run = runner.submit(request())
    jobs.jobs.clear()
    assert (run.status().state, run.status().reason) == (RunState.FAILED, "JobDeleted")


def test_a_hundred_runs_cost_one_listing(jobs: CustomJobs, runner: VertexRunner) -> None:
    runner._fresh = 60.0
    runs = [runner.submit(request()) for _ in range(100)]
    before = jobs.lists
    for run in runs:
        run.status()
    assert jobs.lists - before <= 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_asked_again(jobs: CustomJobs, runner: VertexRunner, status: int) -> None:
    run = runner.submit(request())
    jobs.refusals = [(status, "come back later")] * 4
    with pytest.raises(RunnerError) as failed:
        run.status()
    assert failed.value.retryable
    jobs.refusals = []
    assert run.status().state is RunState.STARTING


def test_a_token_that_is_not_taken_is_renewed(
    jobs: CustomJobs, runner: VertexRunner, tokens: GoogleTokens
) -> None:
    run = runner.submit(request())
    jobs.token = f"ya29.{tokens.issued + 1}"
    assert run.status().state is RunState.STARTING


@pytest.mark.req("VTX-1")
def test_a_missing_permission_is_named(jobs: CustomJobs, runner: VertexRunner) -> None:
    jobs.refusals = [(403, "Permission 'aiplatform.customJobs.list' denied on resource 'x'")]
    with pytest.raises(SubmitRejected) as refused:
        runner.submit(request())
    assert "aiplatform.customJobs.list" in refused.value.hint


def test_a_field_that_the_api_does_not_have_is_refused_once(jobs: CustomJobs, runner: VertexRunner) -> None:
    args = {"spec": {"staging_bucket": "gs://b", "worker_pool_specs": [{"machine": 1}]}}
    with pytest.raises(SubmitRejected, match="machine"):
        runner.submit(request(resource_args=args))
    assert not jobs.jobs


@pytest.mark.req("VTX-2")
def test_everything_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(SubmitRejected) as refused:
        compose(request(resource_args={"run": {"nonsense": 1}}))
    said = refused.value.message
    assert all(word in said for word in ("staging_bucket", "worker_pool_specs", "run.nonsense"))
    assert "hush" not in said


def test_both_spellings_are_one() -> None:
    assert camel({"worker_pool_specs": [{"machine_spec": {}}], "labels": {"a_b": "c"}}) == {
        "workerPoolSpecs": [{"machineSpec": {}}],
        "labels": {"a_b": "c"},
    }


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("QUEUED", RunState.PENDING),
        ("PENDING", RunState.STARTING),
        ("RUNNING", RunState.RUNNING),
        ("SUCCEEDED", RunState.FINISHED),
        ("FAILED", RunState.FAILED),
        ("CANCELLING", RunState.STOPPING),
        ("CANCELLED", RunState.STOPPED),
        ("PAUSED", RunState.RUNNING),
        ("EXPIRED", RunState.FAILED),
        ("UPDATING", RunState.RUNNING),
        ("PARTIALLY_SUCCEEDED", RunState.FAILED),
        ("OF_A_LATER_API", RunState.PENDING),
    ],
)
def test_every_state_of_the_api_is_one_of_ours(state: str, expected: RunState) -> None:
    assert status_of({"state": f"JOB_STATE_{state}"}).state is expected


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("The replica workerpool0-0 exited with a non-zero status of 7.", "Error"),
        ("Quota exceeded for custom_model_training_nvidia_a100_gpus", "QuotaExceeded"),
        ("Resources are insufficient in region: us-central1. Please try a different region", "NoCapacity"),
        ("Failed to pull image europe-docker.pkg.dev/x", "ImagePullError"),
    ],
)
def test_why_a_job_failed_is_told_apart(message: str, reason: str) -> None:
    found = status_of({"state": "JOB_STATE_FAILED", "error": {"code": 3, "message": message}})
    assert found.reason == reason
    assert message in found.message


def test_without_google_cloud_there_is_no_runner() -> None:
    with pytest.raises(ConfigError, match="Google Cloud"):
        create({"environment": {"type": "local"}})
