"""A backend that fails costs time and nothing else: no item lost or taken twice, no report forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from launch_agent.clients.http import HttpSettings
from launch_agent.errors import QueueDenied, QueueUnavailable
from launch_agent.queues import AgentStatus
from launch_agent.queues.wandb import WandbQueues
from launch_agent.spec.model import Failure, Outcome, RunIdentity, RunState, Stage
from launch_agent.spec.secret import Secret
from tests.contracts.queue_client import SPEC, claim_of, registration
from tests.fakes import fault_proxy
from tests.fakes.eventually import eventually
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.fakes.public_backend import PublicBackend

FAILED = Outcome(
    state=RunState.FAILED, failure=Failure(stage=Stage.RUN, reason="Error", message="exit code 1")
)


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.backend = PublicBackend("first", "second")
        self.backend.features = ["LAUNCH_LONG_POLL"]
        self.proxy = FaultProxy(self.backend.url)
        self.client = WandbQueues(
            self.proxy.url,
            Secret(self.backend.key),
            settings=HttpSettings(connect_timeout=2.0, read_timeout=2.0),
            clock=lambda: self.now,
            sleep=self.sleep,
            jitter=lambda: 1.0,
        )
        self.client.register(registration("first", "second"))
        self.proxy.forwarded.clear()

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def leased(self) -> RunIdentity:
        self.backend.push("first", SPEC)
        return claim_of(self.client.pop(["first"], 1).leases[0])

    def close(self) -> None:
        self.client.close()
        self.proxy.close()
        self.backend.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


NO_ANSWER: dict[str, Fault] = {
    "500": fault_proxy.status(500),
    "502-html": fault_proxy.html(502),
    "html": fault_proxy.html(),
    "404": fault_proxy.status(404),
    "not-json": fault_proxy.text(b'{"data": {"viewer"'),
    "list": fault_proxy.text(b"[1, 2]"),
    "null": fault_proxy.text(b"null"),
    "other-json": fault_proxy.text(b'{"hello": "world"}'),
    "empty": fault_proxy.text(b""),
    "bad-bytes": fault_proxy.text(b"\xff\xfe\x00"),
    "cut": fault_proxy.cut(reach_backend=False),
    "cut-in-headers": fault_proxy.cut(after=10),
    "cut-in-body": fault_proxy.cut(after=-1),
}


@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER.keys())
def test_whatever_is_no_answer_is_an_outage(world: World, fault: Fault) -> None:
    world.proxy.always(fault)
    claim = RunIdentity(
        agent="a", item_id="i", queue="first", queue_entity="acme", run_id="r", entity="acme", project="p"
    )
    calls = (
        lambda: world.client.register(registration("first")),
        lambda: world.client.heartbeat(AgentStatus.POLLING),
        lambda: world.client.pop(["first", "second"], 5),
        lambda: world.client.ack([claim]),
        lambda: world.client.is_claimed(claim),
        lambda: world.client.finish(claim, FAILED),
        lambda: world.client.stop_requested([claim]),
        lambda: world.client.run_states([claim]),
    )
    for call in calls:
        with pytest.raises(QueueUnavailable) as caught:
            call()
        assert caught.value.retryable
        assert len(str(caught.value)) < 700
    assert world.now < 8 * 25  # each call gives up in time


def test_an_excerpt_says_what_came_instead(world: World) -> None:
    world.proxy.always(fault_proxy.html())
    with pytest.raises(QueueUnavailable, match=r"HTTP 200: <!doctype html>.*Sign in"):
        world.client.heartbeat(AgentStatus.POLLING)


@pytest.mark.parametrize("code", [401, 403])
def test_a_key_that_is_no_longer_accepted(world: World, code: int) -> None:
    world.proxy.always(fault_proxy.status(code))
    with pytest.raises(QueueDenied, match=f"HTTP {code}"):
        world.client.pop(["first"], 1)
    world.proxy.heal()
    assert world.client.pop(["first"], 1).leases == ()


def test_the_wait_that_a_rate_limit_asks_for_is_told(world: World) -> None:
    world.proxy.always(fault_proxy.status(429, retry_after="17"))
    with pytest.raises(QueueUnavailable) as caught:
        world.client.pop(["first"], 1)
    assert caught.value.retry_after == 17.0


@pytest.mark.req("QUEUE-4")
def test_a_pop_whose_answer_is_lost_is_not_sent_again(world: World) -> None:
    item = world.backend.push("first", SPEC)
    second = world.backend.push("first", SPEC)
    world.proxy.next(fault_proxy.lost, on="popFromRunQueue")
    with pytest.raises(QueueUnavailable):
        world.client.pop(["first"], 1)
    assert world.proxy.forwarded == ["popFromRunQueue"]
    assert (world.backend.items[item].state, world.backend.items[second].state) == ("LEASED", "PENDING")
    world.backend.release_leases()
    assert [lease.item_id for lease in world.client.pop(["first"], 9).leases] == [item, second]


def test_leases_that_came_before_an_outage_are_handed_on(world: World) -> None:
    items = [world.backend.push("first", SPEC) for _ in range(40)]
    world.proxy.next(lambda _request, forward: forward(), fault_proxy.status(503), on="popFromRunQueue")
    popped = world.client.pop(["first", "second"], 40)
    assert [lease.item_id for lease in popped.leases] == items[:1]
    assert set(popped.errors) == {"first"}
    assert "503" in popped.errors["first"]


def test_an_ack_is_repeated_until_it_is_settled(world: World) -> None:
    claim = world.leased()
    world.proxy.next(
        fault_proxy.status(500),
        fault_proxy.lost,
        fault_proxy.status(429, retry_after="5"),
        fault_proxy.cut(after=30),
        on="ackRunQueueItem",
    )
    assert world.client.ack([claim]) == {claim.item_id}
    assert world.backend.items[claim.item_id].run == claim.run_id
    assert world.now < 20


def test_an_ack_gives_up_after_twenty_seconds_and_can_be_settled_later(world: World) -> None:
    claim = world.leased()
    world.proxy.always(fault_proxy.lost, on="ackRunQueueItem")
    with pytest.raises(QueueUnavailable):
        world.client.ack([claim])
    assert 10 < world.now <= 21
    world.proxy.heal()
    assert world.client.is_claimed(claim)


def test_a_report_survives_faults(world: World) -> None:
    claim = world.leased()
    world.client.ack([claim])
    world.proxy.next(*[fault_proxy.status(503)] * 4, fault_proxy.lost, on="failRunQueueItem")
    world.client.finish(claim, FAILED)
    assert world.backend.items[claim.item_id].state == "FAILED"


def test_a_stalled_upload_delays_a_report_little(world: World) -> None:
    """The upload has short timeouts of its own, so reports that wait behind it are not held up."""
    claim = world.leased()
    world.client.ack([claim])
    failure = Failure(stage=Stage.RUN, reason="Error", message="x", log="the log")
    world.proxy.always(fault_proxy.status(500), on="CreateRunFiles")
    world.client.finish(claim, Outcome(state=RunState.FAILED, failure=failure))
    assert world.backend.items[claim.item_id].state == "FAILED"
    assert world.now < 6


@pytest.mark.req("AGT-2")
def test_an_hour_without_a_backend_costs_nothing_but_time(world: World) -> None:
    claim = world.leased()
    world.client.ack([claim])
    waiting = world.backend.push("first", SPEC)
    world.proxy.refuse()
    started, failures = world.now, 0
    while world.now - started < 3600:
        for call in (
            lambda: world.client.heartbeat(AgentStatus.RUNNING),
            lambda: world.client.pop(["first"], 1),
            lambda: world.client.stop_requested([claim]),
        ):
            with pytest.raises(QueueUnavailable):
                call()
            failures += 1
        world.sleep(30.0)
    world.proxy.listen()
    assert failures > 300
    assert not world.client.heartbeat(AgentStatus.RUNNING).stop
    assert [lease.item_id for lease in world.client.pop(["first"], 5).leases] == [waiting]
    assert world.client.is_claimed(claim)


def test_close_ends_a_held_poll_at_once(world: World) -> None:
    world.proxy.always(fault_proxy.stall(world.proxy.closing), on="popFromRunQueue")
    with ThreadPoolExecutor(1) as threads:
        polling = threads.submit(world.client.pop, ["first"], 1, wait=20.0)
        eventually(lambda: "popFromRunQueue" in world.proxy.operations(), what="the poll arrives")
        began = time.monotonic()
        world.client.close()
        with pytest.raises(QueueUnavailable, match="closed"):
            polling.result(timeout=5)
        assert time.monotonic() - began < 1.5
    poll = next(r for r in world.proxy.requests if r.operation == "popFromRunQueue")
    assert poll.headers["prefer"] == "wait=20"


def test_a_poll_is_held_only_where_every_queue_is_watched(world: World) -> None:
    """With room for one, a held request would see its first queue alone."""
    world.client.pop(["first", "second"], 1, wait=20.0)
    assert not any("prefer" in request.headers for request in world.proxy.requests)
    world.client.pop(["first", "second"], 2, wait=20.0)
    assert world.proxy.requests[-1].headers["prefer"] == "wait=20"


def test_a_preference_that_is_not_applied_is_told(world: World) -> None:
    assert not world.client.pop(["first"], 1, wait=20.0).held
    empty = b'{"data": {"popFromRunQueue": null}}'
    world.proxy.next(
        lambda _request, _forward: fault_proxy.Reply(headers={"Preference-Applied": "wait=20"}, body=empty)
    )
    assert world.client.pop(["first"], 1, wait=20.0).held


def test_an_internal_error_in_the_answer_is_an_outage(world: World) -> None:
    world.proxy.always(fault_proxy.text(b'{"errors": [{"message": "Internal Server Error"}], "data": null}'))
    for call in (
        lambda: world.client.heartbeat(AgentStatus.POLLING),
        lambda: world.client.pop(["first"], 1),
    ):
        with pytest.raises(QueueUnavailable):
            call()


def test_a_redirect_says_where_the_backend_is(world: World) -> None:
    moved = fault_proxy.Reply(status=301, headers={"Location": "https://queue.example/graphql"})
    world.proxy.always(lambda _request, _forward: moved)
    with pytest.raises(QueueUnavailable, match=r"redirects to https://queue\.example"):
        world.client.pop(["first"], 1)
