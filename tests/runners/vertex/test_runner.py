"""Custom jobs, with google-auth and a key of the tests, on a server that knows the API's description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.environments.gcp import GcpEnvironment
from launch_agent.errors import ConfigError, RunnerError, SubmitRejected
from launch_agent.runners import health_of, usage_of
from launch_agent.runners.vertex import create
from launch_agent.runners.vertex.run import CustomJob
from launch_agent.runners.vertex.runner import VertexRunner
from launch_agent.runners.vertex.service import Service
from launch_agent.spec import macros
from launch_agent.spec.model import RunState
from tests.fakes.custom_jobs import CustomJobs
from tests.fakes.eventually import eventually
from tests.fakes.google_tokens import GoogleTokens
from tests.runners.vertex.bench import IMAGE, PROJECT, REGION, VertexBench, queue
from tests.runners.vertex.test_faults import state_of

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "queue-configs").glob("vertex*.yaml"))


def submitted(desk: VertexBench, runner: VertexRunner | None = None, **fields: Any) -> CustomJob:
    run = (runner or desk.runner()).submit(desk.request(**fields))
    assert isinstance(run, CustomJob)
    return run


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_examples_run(server: CustomJobs, desk: VertexBench, file: Path) -> None:
    """The server compares every field with the API's own description."""
    text = file.read_text(encoding="utf-8").replace("{{machine_type}}", "g2-standard-8")
    values = {"image_uri": IMAGE, "entity_name": "acme", "project_name": "p", "run_id": "r"}
    run = submitted(desk, resource_args=macros.fill(yaml.safe_load(text), values))
    server.set_state(run.name, "SUCCEEDED")
    eventually(lambda: state_of(run) is RunState.FINISHED, within=20)


def test_the_config_makes_the_runner(desk: VertexBench, server: CustomJobs) -> None:
    made = create(desk.options(keep=True))
    made.verify()
    run = made.submit(desk.request())
    assert run.status() is run.status()
    made.close()


@pytest.mark.parametrize("part", [{"type": "local"}, {"type": "gcp", "project": "", "region": "x"}])
def test_without_google_cloud_there_is_no_runner(part: Mapping[str, str]) -> None:
    with pytest.raises(ConfigError) as missing:
        create({"environment": part})
    assert missing.value.path in ("environment.type", "environment.project")


def test_a_queue_that_waits_holds_back_the_start_timeout(server: CustomJobs, desk: VertexBench) -> None:
    run = submitted(desk)
    server.set_state(run.name, "QUEUED")
    eventually(lambda: run.status().held, within=20)
    assert run.status().reason == "Queued"


def test_a_failure_has_the_reason_that_a_listing_lacks(server: CustomJobs, desk: VertexBench) -> None:
    run = submitted(desk)
    error = {"code": 8, "message": "Quota exceeded for custom_model_training_cpus"}
    server.set_state(run.name, "FAILED", error=error)
    eventually(lambda: state_of(run) is RunState.FAILED, within=20)
    assert run.status().reason == "QuotaExceeded"


def test_a_thousand_runs_cost_ten_looks_a_minute(server: CustomJobs, desk: VertexBench) -> None:
    """Whoever asks for a run's state asks nobody else; rounds get rarer as pages get more."""
    now = [0.0]
    runner = desk.runner(fresh=10.0, clock=lambda: now[0])
    listing = runner.listing(desk.agent)
    listing._poller.close()  # the rounds are made by hand, in a time of the test's own
    runs = [submitted(desk, runner) for _ in range(1_000)]
    now[0] += 100.0
    listing.work()
    server.counts.clear()
    for _ in range(600):
        now[0] += 0.1
        listing.work()
        assert all(run.status().state is RunState.STARTING for run in runs[:3])
    assert sum(server.counts.values()) <= 12
    for run in runs[:30]:
        server.set_state(run.name, "RUNNING")
    now[0] += 60.0
    listing.work()
    assert [run.status().state for run in runs[:31]] == [RunState.RUNNING] * 30 + [RunState.STARTING]


def test_nothing_is_asked_where_nothing_runs(server: CustomJobs, desk: VertexBench) -> None:
    runner = desk.runner()
    run = submitted(desk, runner)
    server.set_state(run.name, "SUCCEEDED")
    eventually(lambda: state_of(run) is RunState.FINISHED, within=20)
    assert health_of(runner) == []
    assert runner.listing(desk.agent).work() == float("inf")


def test_what_was_asked_for_is_counted(server: CustomJobs, desk: VertexBench) -> None:
    runner = desk.runner()
    submitted(desk, runner)
    (watch,) = health_of(runner)
    assert watch.age < 60
    requests = usage_of(runner).requests
    assert requests["create", "200"][0] == 1
    assert requests["list", "200"][0] >= 2


def test_logs_tell_machines_apart_and_come_in_pages(server: CustomJobs, desk: VertexBench) -> None:
    run = submitted(desk)
    assert run.logs(10) == ""
    place = f"projects/{PROJECT}/logs"
    server.logs[run.name] = [
        {"logName": f"{place}/ml.googleapis.com%2F1", "jsonPayload": {"message": "Job is running."}},
        {"logName": f"{place}/workerpool0-0", "textPayload": "chief\n"},
        {"logName": f"{place}/workerpool1-0", "jsonPayload": {"message": "worker", "level": "INFO"}},
        {"logName": f"{place}/workerpool1-0", "jsonPayload": {"loss": 1}},
    ]
    assert run.logs(10) == (
        'Job is running.\n[workerpool0-0] chief\n[workerpool1-0] worker\n[workerpool1-0] {"loss": 1}\n'
    )
    server.logs[run.name] = [f"line {number}" for number in range(2_500)]
    assert run.logs(2_200).splitlines()[0] == "line 300"
    assert run.logs(1) == "line 2499\n"


def test_an_agent_that_may_not_read_logs_follows_its_runs_all_the_same(
    server: CustomJobs, desk: VertexBench
) -> None:
    run = submitted(desk, desk.runner(fresh=60.0))
    eventually(lambda: server.counts["list"] == 3, within=20)  # the two looks of a submit, and one round
    server.refusals = [(403, "Permission 'logging.logEntries.list' denied on resource")]
    with pytest.raises(RunnerError) as denied:
        run.logs(10)
    assert "logging.logEntries.list" in denied.value.hint


def test_a_field_that_the_api_does_not_have_is_refused_once(server: CustomJobs, desk: VertexBench) -> None:
    args = queue(image_uri=IMAGE)
    args["spec"]["worker_pool_specs"][0]["machine"] = 1
    with pytest.raises(SubmitRejected, match="machine"):
        submitted(desk, resource_args=args)
    assert not server.counts["create"]


@pytest.mark.parametrize(
    ("universe", "host"),
    [
        ("googleapis.com", "europe-west4-aiplatform.googleapis.com"),
        ("apis.fr", "europe-west4-aiplatform.apis.fr"),
    ],
)
def test_the_address_is_that_of_the_region_and_the_universe(
    tokens: GoogleTokens, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, universe: str, host: str
) -> None:
    """The very first request goes there, before any token was asked for."""
    key = json.loads(tokens.key_file.read_text(encoding="utf-8")) | {"universe_domain": universe}
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    session = GcpEnvironment(PROJECT, REGION).session
    made = Service(HttpClient(HttpSettings()), session, project=PROJECT, region=REGION, endpoints={})
    assert made._aiplatform() == f"https://{host}"
    assert made._logging() == f"https://logging.{universe}"


def test_private_endpoints_are_taken_as_they_are() -> None:
    endpoints = {"aiplatform": "https://europe-west4-aiplatform.p.googleapis.com/"}
    made = Service(HttpClient(HttpSettings()), None, project=PROJECT, region=REGION, endpoints=endpoints)  # type: ignore[arg-type]  # nobody is asked for credentials
    assert made._aiplatform() == "https://europe-west4-aiplatform.p.googleapis.com"


@pytest.mark.req("VTX-1")
def test_a_missing_permission_is_named(server: CustomJobs, desk: VertexBench) -> None:
    server.refusals = [(403, "Permission 'aiplatform.customJobs.list' denied on resource 'x'")]
    with pytest.raises(RunnerError) as refused:
        desk.runner().verify()
    assert "aiplatform.customJobs.list" in refused.value.hint
