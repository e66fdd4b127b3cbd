"""Our client on our server, over a real socket: the contract, and what only the two of them can do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launch_agent.errors import QueueDenied, QueueUnavailable
from launch_agent.queues import AgentStatus
from launch_agent.queues.wandb import WandbQueues
from launch_agent.spec.model import Failure, Notice, Outcome, RunState, Stage
from launch_agent.spec.secret import Secret
from tests.contracts.queue_client import ENTITY, SPEC, QueueClientContract, claim_of, registration
from tests.fakes.fault_proxy import FaultProxy, lost
from tests.fakes.own_server import KEY, OwnServer


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path, "first", "second")
    yield made
    made.close()


class TestContract(QueueClientContract):
    """On the embedded server."""


@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.STOPPED, RunState.PREEMPTED])
def test_every_end_is_told(world: OwnServer, state: RunState) -> None:
    world.client.register(registration("first"))
    assert world.client.reports_outcomes()
    world.push("first", SPEC)
    claim = claim_of(world.client.pop(["first"], 1).leases[0])
    world.client.ack([claim])
    world.client.finish(claim, Outcome(state=state))
    assert world.item(claim.item_id)["detailedState"] == state.value.upper()


def test_a_failures_log_is_kept_and_named(world: OwnServer) -> None:
    world.client.register(registration("first"))
    world.push("first", SPEC)
    claim = claim_of(world.client.pop(["first"], 1).leases[0])
    world.client.ack([claim])
    world.client.warn(claim, Notice(stage=Stage.RUN, message="0/3 nodes are available"))
    failure = Failure(stage=Stage.RUN, reason="Error", message="exit code 1", log="Traceback\nboom\n")
    world.client.finish(claim, Outcome(state=RunState.FAILED, failure=failure))
    item = world.item(claim.item_id)
    path = f"{claim.item_id}/error/error.log"
    assert item["error"] == {"message": "Error: exit code 1", "stage": "run", "filePaths": [path]}
    assert [warning["message"] for warning in item["warnings"]] == ["0/3 nodes are available"]
    run = world.backend.query(
        """query F($e: String, $f: [String!]) { project(name: "model-registry", entityName: $e) {
             run(name: "test-agent") { jobType files(names: $f) { edges { node { directUrl } } } } } }""",
        e=ENTITY,
        f=[path],
    )["project"]["run"]
    assert run["jobType"] == "sweep-controller"
    assert world.backend.download(run["files"]["edges"][0]["node"]["directUrl"]) == b"Traceback\nboom\n"


@pytest.mark.req("AGT-3")
def test_a_long_poll_answers_as_soon_as_there_is_an_item(world: OwnServer) -> None:
    world.client.register(registration("first", "second"))
    assert world.client.pop(["first"], 1, wait=1.0).held
    with ThreadPoolExecutor(1) as threads:
        polling = threads.submit(world.client.pop, ["first", "second"], 5, wait=30.0)
        item = world.push("second", SPEC)
        popped = polling.result(timeout=10)
    assert [lease.item_id for lease in popped.leases] == [item]
    assert popped.held


def test_close_ends_a_long_poll(world: OwnServer) -> None:
    world.client.register(registration("first"))
    polling = threading.Event()
    with ThreadPoolExecutor(1) as threads:

        def poll() -> None:
            polling.set()
            world.client.pop(["first"], 1, wait=30.0)

        ended = threads.submit(poll)
        polling.wait(5)
        began = time.monotonic()
        world.client.close()
        with pytest.raises(QueueUnavailable):
            ended.result(timeout=10)
        assert time.monotonic() - began < 2.0
    world.client.heartbeat(AgentStatus.KILLED)


def test_a_wrong_key_is_denied(world: OwnServer) -> None:
    client = WandbQueues(world.server.url, Secret("local-" + "b2" * 20))
    with pytest.raises(QueueDenied):
        client.register(registration("first"))
    client.close()


def test_the_agents_name_reaches_its_page(world: OwnServer) -> None:
    registered = world.client.register(registration("first"))
    data = world.backend.query(
        "query A($id: ID!) { launchAgent(id: $id) { name version agentConfig } }", id=registered.agent_id
    )
    assert data["launchAgent"] == {
        "name": "test-agent",
        "version": "launch-agent@test",
        "agentConfig": '{"max_jobs": 3}',
    }


def test_a_thousand_runs_are_asked_for_in_one_request(world: OwnServer) -> None:
    world.client.register(registration("first"))
    with FaultProxy(world.server.url) as proxy:
        assert isinstance(proxy, FaultProxy)
        client = WandbQueues(proxy.url, Secret(KEY))
        runs = [
            claim_of(world.client.pop(["first"], 1).leases[0]) for _ in range(2) if world.push("first", SPEC)
        ]
        many = runs * 500
        assert client.stop_requested(many) == set()
        assert len(proxy.forwarded) == 1
        client.close()


def test_an_ack_and_a_report_whose_answers_are_lost(world: OwnServer) -> None:
    with FaultProxy(world.server.url) as proxy:
        assert isinstance(proxy, FaultProxy)
        client = WandbQueues(proxy.url, Secret(KEY), jitter=lambda: 0.01)
        client.register(registration("first"))
        world.push("first", SPEC)
        claim = claim_of(client.pop(["first"], 1).leases[0])
        proxy.next(lost, on="ackRunQueueItem")
        proxy.next(lost, on="finishRunQueueItem")
        assert client.ack([claim]) == {claim.item_id}
        client.finish(claim, Outcome(state=RunState.FINISHED))
        client.close()
    assert world.item(claim.item_id)["detailedState"] == "FINISHED"
    assert proxy.forwarded.count("ackRunQueueItem") == 2
