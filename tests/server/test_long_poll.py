"""`Prefer: wait=N`: held until there is something to tell, and not a moment longer."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3

from launch_agent.server.serve import Server
from tests.fakes.backend import PROJECT, Backend
from tests.fakes.eventually import eventually
from tests.fakes.wire import Answer, Wire

_POP = """mutation($queue: String!, $agent: ID) {
  a: popFromRunQueue(input: {entityName: "team", projectName: "model-registry", queueName: $queue,
    launchAgentId: $agent}) { runQueueItemId }
  b: popFromRunQueue(input: {entityName: "team", projectName: "model-registry", queueName: "other",
    launchAgentId: $agent}) { runQueueItemId } }"""

# A wait that no test wants to see the end of.
_LONG = "wait=50"


@pytest.fixture
def queues(backend: Backend) -> Backend:
    backend.create_queue("q", "local-container")
    backend.create_queue("other", "local-container")
    return backend


def _poll(wire: Wire, prefer: str = _LONG, agent: str | None = None) -> Answer:
    return wire.graphql(_POP, {"queue": "q", "agent": agent}, headers={"Prefer": prefer}, timeout=60)


def _held(server: Server, number: int = 1) -> None:
    """Return when that many requests are held."""
    eventually(lambda: server.held_requests == number)


@pytest.mark.parametrize("queue", ["q", "other"])
def test_a_push_into_any_of_the_queues_wakes_the_request_at_once(
    server: Server, wire: Wire, queues: Backend, queue: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        polled: Future[tuple[Answer, float]] = pool.submit(lambda: (_poll(wire), time.monotonic()))
        _held(server)
        pushed_at = time.monotonic()
        item = queues.push(queue, {"project": "p"})
        answer, answered_at = polled.result(timeout=20)
    got = answer.data["a" if queue == "q" else "b"]
    assert got["runQueueItemId"] == item
    assert answer.data["b" if queue == "q" else "a"] is None
    assert answer.headers["Preference-Applied"] == "wait=50"
    # Generous, for a busy machine; a wake-up that was lost would take 50 s.
    assert answered_at - pushed_at < 5


def test_of_many_that_wait_one_gets_the_item(server: Server, wire: Wire, queues: Backend) -> None:
    with ThreadPoolExecutor(4) as pool:
        polls = [pool.submit(_poll, wire) for _ in range(4)]
        _held(server, 4)
        items = {queues.push("q", {"project": "p"}) for _ in range(4)}
        got = [poll.result(timeout=20).data["a"]["runQueueItemId"] for poll in polls]
    assert set(got) == items


def test_where_an_item_is_there_nobody_waits(wire: Wire, queues: Backend) -> None:
    item = queues.push("q", {"project": "p"})
    assert _poll(wire).data["a"]["runQueueItemId"] == item


def test_when_the_time_is_over_the_answer_is_empty(wire: Wire, queues: Backend) -> None:
    answer = _poll(wire, "respond-async, wait=0.2")
    assert answer.data == {"a": None, "b": None}
    assert answer.headers["Preference-Applied"] == "wait=0.2"


def test_a_wait_is_never_longer_than_the_servers_own_limit(wire: Wire, queues: Backend) -> None:
    queues.push("q", {"project": "p"})
    assert _poll(wire, "wait=86400").headers["Preference-Applied"] == "wait=60"


@pytest.mark.parametrize(
    "query",
    [
        "{ viewer { id } }",
        """mutation { a: popFromRunQueue(input: {entityName: "team", projectName: "model-registry",
           queueName: "q"}) { runQueueItemId }
           b: updateLaunchAgent(input: {launchAgentId: "x"}) { success } }""",
    ],
    ids=["query", "mixed"],
)
def test_only_documents_of_pops_are_held(wire: Wire, queues: Backend, query: str) -> None:
    answer = wire.graphql(query, headers={"Prefer": _LONG}, timeout=10)
    assert "Preference-Applied" not in answer.headers
    assert "Preference-Applied" not in _poll(wire, "").headers


def test_an_error_ends_the_wait(wire: Wire, backend: Backend) -> None:
    backend.create_queue("other", "local-container")
    answer = _poll(wire)
    assert "there is no queue 'q'" in answer.messages[0]
    assert answer.data == {"a": None, "b": None}


def test_a_database_that_fails_ends_the_wait_with_503(
    server: Server, wire: Wire, queues: Backend, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(_poll, wire, "wait=1")
        _held(server)
        connection = sqlite3.connect(tmp_path / "data" / "queue.db")
        with connection:
            connection.execute("ALTER TABLE queues RENAME TO elsewhere")
        connection.close()
        assert polled.result(timeout=20).status == 503


def test_the_order_to_stop_ends_the_wait(server: Server, wire: Wire, queues: Backend) -> None:
    given = {"entityName": "team", "projectName": PROJECT, "runQueues": [], "hostname": "h"}
    agent = wire.mutate("createLaunchAgent", "launchAgentId", **given)["launchAgentId"]
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(_poll, wire, _LONG, agent)
        _held(server)
        queues.stop_agent(agent)
        assert polled.result(timeout=20).data == {"a": None, "b": None}


def test_a_client_that_goes_away_leases_nothing(server: Server, wire: Wire, queues: Backend) -> None:
    host, port = urllib3.util.parse_url(server.url).host, urllib3.util.parse_url(server.url).port
    body = json.dumps({"query": _POP, "variables": {"queue": "q"}}).encode()
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {server.api_key}\r\n"
        f"Prefer: {_LONG}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, port)) as raw:
        raw.sendall(head.encode() + body)
        _held(server)
    _held(server, 0)
    item = queues.push("q", {"project": "p"})
    found = queues.item(item)
    assert (found["state"], found["deliveries"]) == ("PENDING", 0)


def test_a_lease_that_ends_wakes_who_waits(tmp_path: Path) -> None:
    with Server(data_dir=tmp_path, entity="team", lease_seconds=0.3) as server:
        backend = Backend(url=server.url, api_key=server.api_key, entity="team")
        for name in ("q", "other"):
            backend.create_queue(name, "local-container")
        item = backend.push("q", {"project": "p"})
        wire = Wire(url=server.url, api_key=server.api_key)
        assert _poll(wire).data["a"]["runQueueItemId"] == item
        assert _poll(wire).data["a"]["runQueueItemId"] == item
        wire.close()


def test_stopping_the_server_ends_the_waits(tmp_path: Path) -> None:
    server = Server(data_dir=tmp_path, entity="team")
    server.start()
    backend = Backend(url=server.url, api_key=server.api_key, entity="team")
    for name in ("q", "other"):
        backend.create_queue(name, "local-container")
    wire = Wire(url=server.url, api_key=server.api_key)
    got: list[Any] = []
    poll = threading.Thread(target=lambda: got.append(_poll(wire)))
    poll.start()
    _held(server)
    begun = time.monotonic()
    server.stop()
    poll.join(20)
    wire.close()
    assert got[0].data == {"a": None, "b": None}
    assert time.monotonic() - begun < 2.5, "the wait was ended, not cut off"
