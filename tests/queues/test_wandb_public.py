"""Our client on the public protocol: the contract, and the dialects that such backends are known to speak."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from launch_agent.clients.http import HttpSettings
from launch_agent.errors import QueueDenied, QueueError
from launch_agent.queues import AgentStatus
from launch_agent.queues.wandb import WandbQueues
from launch_agent.spec.model import Failure, Notice, Outcome, RunIdentity, RunState, Stage
from launch_agent.spec.secret import Secret
from tests.contracts.queue_client import ENTITY, SPEC, QueueClientContract, claim_of, registration
from tests.fakes.public_backend import PublicBackend


class PublicWorld:
    def __init__(self, **options: Any) -> None:
        self.backend = PublicBackend("first", "second", **options)
        self.client = WandbQueues(
            self.backend.url, Secret(self.backend.key), hostname="host", sleep=lambda _: None
        )

    def push(self, queue: str, spec: Mapping[str, Any]) -> str:
        return self.backend.push(queue, spec)

    def state(self, queue: str, item_id: str) -> str:
        assert self.backend.items[item_id].queue == queue
        return self.backend.items[item_id].state

    def error(self, queue: str, item_id: str) -> str:
        error = self.backend.items[item_id].error
        return str(error and error["message"])

    def start_run(self, claim: RunIdentity) -> None:
        self.backend.runs[claim.project, claim.run_id] = {"state": "running", "stopped": False}

    def ask_to_stop(self, claim: RunIdentity) -> None:
        self.backend.runs[claim.project, claim.run_id]["stopped"] = True

    def stop_agent(self, agent_id: str) -> None:
        self.backend.agents[agent_id]["stopPolling"] = True

    def expire_leases(self) -> None:
        self.backend.release_leases()

    def close(self) -> None:
        self.client.close()
        self.backend.close()


@pytest.fixture(
    params=[{}, {"roots": 3}, {"roots": 1}, {"aliases": False}, {"dialect": "older"}],
    ids=["newest", "three-roots", "one-root", "no-aliases", "older"],
)
def world(request: pytest.FixtureRequest) -> Iterator[PublicWorld]:
    made = PublicWorld(**request.param)
    yield made
    made.close()


class TestContract(QueueClientContract):
    """On every dialect."""


@pytest.fixture
def newest() -> Iterator[PublicWorld]:
    made = PublicWorld()
    yield made
    made.close()


def register(world: PublicWorld) -> str:
    return world.client.register(registration("first", "second")).agent_id


def test_registration_shows_the_config_and_the_host(newest: PublicWorld) -> None:
    agent = newest.backend.agents[register(newest)]
    assert agent["hostname"] == "host"
    assert agent["agentConfig"] == '{"max_jobs": 3}'
    assert agent["version"] == "launch-agent@test"
    assert agent["runQueues"] == ["id-first", "id-second"]


def test_a_wrong_key_is_denied_and_never_shown(newest: PublicWorld, caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret("f" * 40)
    client = WandbQueues(newest.backend.url, secret)
    with caplog.at_level(logging.DEBUG), pytest.raises(QueueDenied) as caught:
        client.register(registration("first"))
    client.close()
    assert "401" in str(caught.value)
    assert secret.reveal() not in f"{caught.value!r} {caplog.text} {client!r} {vars(client)}"


def test_a_null_viewer_is_a_wrong_key(newest: PublicWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublicBackend, "viewer", lambda _: None)
    with pytest.raises(QueueDenied, match="does not know the API key"):
        register(newest)


def test_no_entity_anywhere(newest: PublicWorld) -> None:
    newest.backend.entity = ""
    with pytest.raises(QueueError, match="no default one"):
        newest.client.register(registration("first", entity=""))


def test_an_idle_poll_is_one_request_with_one_root_a_queue(newest: PublicWorld) -> None:
    register(newest)
    newest.backend.documents.clear()
    assert newest.client.pop(["first", "second"], 10).leases == ()
    assert [document.count("popFromRunQueue(input") for document in newest.backend.documents] == [2]


def test_a_burst_of_fifty_takes_few_requests(newest: PublicWorld) -> None:
    register(newest)
    for _ in range(50):
        newest.push("first", SPEC)
    newest.backend.documents.clear()
    leases = newest.client.pop(["first"], 50).leases
    assert len(leases) == 50
    assert len(newest.backend.documents) == 3  # 1, 25 and 24 roots
    newest.backend.documents.clear()
    assert len(newest.client.ack([claim_of(lease) for lease in leases])) == 50
    assert len(newest.backend.documents) == 2


def test_a_single_operation_looks_like_the_official_clients(newest: PublicWorld) -> None:
    register(newest)
    newest.client.pop(["first"], 1)
    document = newest.backend.documents[-1]
    assert document.startswith(
        "mutation popFromRunQueue($entity: String!, $project: String!, $queueName: String!,"
        " $launchAgentId: ID) { popFromRunQueue(input: {entityName: $entity, projectName: $project,"
    )


def test_what_a_backend_takes_is_remembered() -> None:
    world = PublicWorld(roots=3)
    register(world)
    for _ in range(30):
        world.push("first", SPEC)
    world.client.pop(["first"], 12)
    world.backend.documents.clear()
    world.client.pop(["first"], 7)
    sizes = [document.count("popFromRunQueue(input") for document in world.backend.documents]
    assert sizes == [1, 2, 2, 2]
    world.close()


@pytest.mark.req("AGT-3")
def test_a_queue_that_fails_does_not_hide_the_others(newest: PublicWorld) -> None:
    register(newest)
    newest.backend.broken_queues = {"first"}
    item = newest.push("second", SPEC)
    popped = newest.client.pop(["first", "second"], 10)
    assert [lease.item_id for lease in popped.leases] == [item]
    assert popped.errors == {"first": "queue first was not found"}
    newest.backend.broken_queues = {"first", "second"}
    with pytest.raises(QueueError, match="was not found"):
        newest.client.pop(["first", "second"], 10)


@pytest.mark.parametrize("spec", ['{"entity": "acme"}', {"entity": "acme"}])
def test_a_spec_is_an_object_or_a_text(newest: PublicWorld, spec: object) -> None:
    register(newest)
    newest.backend.push("first", spec)
    assert newest.client.pop(["first"], 1).leases[0].spec == {"entity": ENTITY}


@pytest.mark.parametrize("spec", ["not JSON", "[1]", None, 7])
def test_a_spec_that_is_none_still_makes_a_lease_that_can_fail(newest: PublicWorld, spec: object) -> None:
    register(newest)
    newest.backend.push("first", spec)
    assert newest.client.pop(["first"], 1).leases[0].spec == {}


def test_an_ack_whose_answer_was_lost_is_looked_up(newest: PublicWorld) -> None:
    """The public backend does not say whether a repeated ack succeeds; the item itself tells."""
    register(newest)
    newest.push("first", SPEC)
    claim = claim_of(newest.client.pop(["first"], 1).leases[0])
    newest.backend.ackRunQueueItem({"runQueueItemId": claim.item_id, "runName": claim.run_id})
    assert newest.client.ack([claim]) == {claim.item_id}


def test_only_failures_are_told(newest: PublicWorld) -> None:
    register(newest)
    newest.push("first", SPEC)
    claim = claim_of(newest.client.pop(["first"], 1).leases[0])
    newest.backend.documents.clear()
    newest.client.finish(claim, Outcome(state=RunState.FINISHED))
    assert not newest.client.reports_outcomes()
    assert newest.backend.documents == []


def failing(log: str = "", message: str = "exit code 1") -> Outcome:
    failure = Failure(stage=Stage.RUN, reason="Error", message=message, log=log)
    return Outcome(state=RunState.FAILED, failure=failure)


def test_the_log_of_a_failure_is_uploaded(newest: PublicWorld) -> None:
    register(newest)
    newest.push("first", SPEC)
    claim = claim_of(newest.client.pop(["first"], 1).leases[0])
    newest.client.finish(claim, failing(log="Traceback: ünlucky\n"))
    path = f"{claim.item_id}/error/error.log"
    assert newest.backend.uploads == {path: "Traceback: ünlucky\n".encode()}
    assert newest.backend.streams == [
        ("/files/acme/model-registry/test-agent/file_stream", {"uploaded": [path]})
    ]
    error = newest.backend.items[claim.item_id].error
    assert error is not None
    assert (error["filePaths"], error["stage"]) == ([path], "run")
    put = next(request for request in newest.backend.requests if request.method == "PUT")
    assert put.headers["x-kind"] == "log"


def test_a_huge_log_is_uploaded_from_its_end(newest: PublicWorld) -> None:
    register(newest)
    newest.push("first", SPEC)
    claim = claim_of(newest.client.pop(["first"], 1).leases[0])
    newest.client.finish(claim, failing(log="x" * 3_000_000 + "the cause"))
    [uploaded] = newest.backend.uploads.values()
    assert len(uploaded) == 1024 * 1024
    assert uploaded.endswith(b"the cause")


def test_a_failing_upload_does_not_stop_the_report(
    newest: PublicWorld, caplog: pytest.LogCaptureFixture
) -> None:
    register(newest)
    newest.push("first", SPEC)
    claim = claim_of(newest.client.pop(["first"], 1).leases[0])
    newest.backend.upload_status = 403
    newest.client.finish(claim, failing(log="the cause"))
    error = newest.backend.items[claim.item_id].error
    assert error is not None
    assert error["filePaths"] == []
    assert "could not be uploaded" in caplog.text


def test_a_long_message_keeps_both_ends(newest: PublicWorld) -> None:
    register(newest)
    newest.push("first", SPEC)
    claim = claim_of(newest.client.pop(["first"], 1).leases[0])
    newest.client.finish(claim, failing(message="begin" + "x" * 10_000 + "end"))
    message = newest.error("first", claim.item_id)
    assert len(message) == 2000
    assert message.startswith("Error: begin")
    assert message.endswith("end")


def test_a_warning_names_its_stage(newest: PublicWorld) -> None:
    register(newest)
    newest.push("first", SPEC)
    claim = claim_of(newest.client.pop(["first"], 1).leases[0])
    newest.client.warn(claim, Notice(stage=Stage.BUILD, message="could not install x"))
    [warning] = newest.backend.items[claim.item_id].warnings
    assert (warning["stage"], warning["message"]) == ("build", "could not install x")


def test_a_thousand_runs_cost_a_handful_of_requests(newest: PublicWorld) -> None:
    register(newest)
    runs = [
        RunIdentity(
            agent="a", item_id=f"i{n}", queue="first", queue_entity=ENTITY, run_id=f"run{n}", entity=ENTITY,
            project=f"p{n % 3}",
        )
        for n in range(1000)
    ]  # fmt: skip
    for run in runs[::100]:
        newest.backend.runs[run.project, run.run_id] = {"state": "running", "stopped": True}
    newest.backend.documents.clear()
    assert newest.client.stop_requested(runs) == {run.item_id for run in runs[::100]}
    assert len(newest.backend.documents) == 1
    states = newest.client.run_states(runs)
    assert (states["i0"], states["i1"], len(states)) == ("running", None, 1000)


def test_an_agent_that_the_backend_forgot_registers_again(newest: PublicWorld) -> None:
    first = register(newest)
    del newest.backend.agents[first]
    assert not newest.client.heartbeat(AgentStatus.POLLING).stop
    [second] = newest.backend.agents
    assert second != first
    newest.client.heartbeat(AgentStatus.RUNNING)
    assert newest.backend.agents[second]["agentStatus"] == "RUNNING"


def test_before_registration_nothing_is_popped(newest: PublicWorld) -> None:
    with pytest.raises(QueueError, match="not registered"):
        newest.client.pop(["first"], 1)


def test_settings_reach_the_wire(newest: PublicWorld) -> None:
    client = WandbQueues(
        newest.backend.url, Secret(newest.backend.key), settings=HttpSettings(user_agent="me/1")
    )
    client.register(registration("first"))
    client.close()
    assert {request.headers["user-agent"] for request in newest.backend.requests} == {"me/1"}


def test_a_backend_that_holds_no_request_is_not_asked_to(newest: PublicWorld) -> None:
    """The longer timeout of a held request would hide a backend that has stalled."""
    register(newest)
    assert not newest.client.pop(["first"], 1, wait=20.0).held
    assert not any("prefer" in request.headers for request in newest.backend.requests)
