"""The same commands where the backend names none of our features: the public protocol must be enough.

The embedded server speaks all of it; what it has beyond is hidden from the client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launch_agent.queues import session, submissions
from launch_agent.spec.model import Failure, Outcome, RunIdentity, RunState, Stage
from tests.contracts.queue_client import claim_of, registration
from tests.fakes.command import Ran, command
from tests.fakes.eventually import eventually
from tests.fakes.own_server import KEY, OwnServer

Run = Callable[..., Ran]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnServer]:
    monkeypatch.setattr(session, "features_of", lambda _: frozenset())
    made = OwnServer(tmp_path / "server", "q", "other")
    made.client.register(registration("q", "other"))
    yield made
    made.close()


@pytest.fixture
def run(world: OwnServer, tmp_path: Path) -> Run:
    env = {"WANDB_BASE_URL": world.server.url, "WANDB_API_KEY": KEY, "HOME": str(tmp_path)}
    return lambda *args, stdin="": command(*args, env=env, stdin=stdin)


def submitted(run: Run) -> str:
    return str(run("submit", "-q", "q", "-d", "i", "-p", "p", "--format", "json").json()["item"])


def started(run: Run, world: OwnServer) -> RunIdentity:
    submitted(run)
    claim = claim_of(world.client.pop(["q"], 1).leases[0])
    world.client.ack([claim])
    return claim


def test_queues(run: Run) -> None:
    assert run("queue", "list").out.split() == ["QUEUE", "other", "q"]
    assert run("queue", "create", "new", "-r", "local-container", "-c", "-", stdin="memory: 2g").code == 0
    assert run("queue", "update", "new", "--prioritize").code == 0
    shown = run("queue", "show", "new", "--format", "json").json()
    assert (shown["config"], shown["prioritized"]) == ({"memory": "2g"}, True)
    assert run("queue", "delete", "new", "--yes").code == 0
    assert run("status").out.split() == ["QUEUE", "other", "q"]


def test_an_item_is_found_in_whatever_queue_it_is(run: Run) -> None:
    item = submitted(run)
    for args in (("q", item), (item,)):
        found = run("status", *args, "--format", "json").json()
        assert (found["queue"], found["state"], found["project"]) == ("q", "PENDING", "p")
    assert item in run("status", "q").out
    assert run("status", "other", item).code == 3
    assert run("submit", "-q", "none", "-d", "i", "-p", "p").code == 3


def test_a_waiting_item_is_taken_off_its_queue(run: Run, world: OwnServer) -> None:
    item = submitted(run)
    assert run("stop", item).out == f"item {item} will not run\n"
    assert world.client.pop(["q"], 1).leases == ()


def test_a_running_item_is_stopped_by_its_run(run: Run, world: OwnServer) -> None:
    claim = started(run, world)
    world.start_run(claim)
    assert run("status", claim.item_id, "--format", "json").json()["run_state"] == "running"
    assert "is asked to stop" in run("stop", claim.item_id).out
    assert world.client.stop_requested([claim]) == {claim.item_id}


def test_the_runs_state_is_the_items_end(run: Run, world: OwnServer) -> None:
    claim = started(run, world)
    world.client.finish(claim, Outcome(state=RunState.FINISHED))
    found = run("status", claim.item_id, "--format", "json").json()
    assert (found["state"], found["run_id"]) == ("FINISHED", claim.run_id)
    assert run("logs", claim.item_id).err == "nothing is there to read\n"


def test_watch_ends_with_the_run(run: Run, world: OwnServer) -> None:
    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(run, "submit", "-q", "q", "-d", "i", "-p", "p", "--watch")
        lease = eventually(lambda: world.client.pop(["q"], 1).leases, what="the item arrives")[0]
        claim = claim_of(lease)
        world.client.ack([claim])
        failure = Failure(stage=Stage.RUN, reason="Error", message="exit code 3")
        world.client.finish(claim, Outcome(state=RunState.FAILED, failure=failure))
        ran = watching.result(timeout=30)
    assert ran.code == 1
    assert "error: Error: exit code 3" in ran.out


def test_fields_that_a_server_does_not_know_are_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    item = submitted(run)
    fields = ("runSpec madeUp", "runSpec alsoMadeUp", "")
    monkeypatch.setattr(submissions, "_PUBLIC_EXTRAS", fields)
    found = run("status", item, "--format", "json").json()
    assert (found["state"], found["project"]) == ("PENDING", "")
