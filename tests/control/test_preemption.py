"""Preempted jobs go back to their queue once, through crashes and on backends that know no repetition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launch_agent.control.journal import Entry, Journal
from launch_agent.control.preemption import Preemption
from launch_agent.errors import QueueError, QueueUnavailable
from launch_agent.queues.wandb import WandbQueues
from launch_agent.spec.model import Lease, RunIdentity
from launch_agent.spec.secret import Secret
from tests.contracts.queue_client import ENTITY, SPEC, claim_of, registration
from tests.fakes.own_server import OwnServer
from tests.fakes.public_backend import PublicBackend


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state")
    with journal.held():
        yield journal


@pytest.fixture
def public() -> Iterator[PublicBackend]:
    with PublicBackend("first", dialect="older") as backend:
        yield backend


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path / "server", "first")
    yield made
    made.close()


def claimed(client: WandbQueues, journal: Journal | None = None) -> RunIdentity:
    client.register(registration("first"))
    [lease] = client.pop(["first"], 1).leases
    claim = claim_of(lease)
    if journal is not None:
        journal.record(Entry(lease=lease, identity=claim))
    assert client.ack([claim]) == {claim.item_id}
    return claim


def test_the_agents_own_record_will_do_where_the_backend_tells_nothing(
    journal: Journal, public: PublicBackend
) -> None:
    public.push("first", {**SPEC, "_wandb_api_key": "the submitter's"})
    client = WandbQueues(public.url, Secret(public.key))
    claim = claimed(client, journal)
    journal.started(claim.item_id)
    successor = Preemption(client, journal).put_back(claim)
    assert successor is not None
    again = public.items[successor]
    wanted = {**SPEC, "run_id": claim.run_id, "_resume_count": 1, "_wandb_api_key": "the submitter's"}
    assert (again.spec, again.priority) == (wanted, None)
    client.close()


def test_the_backends_word_will_do_where_the_record_is_gone(journal: Journal) -> None:
    with PublicBackend("first") as backend:
        backend.items[backend.push("first", SPEC)].priority = 0
        client = WandbQueues(backend.url, Secret(backend.key))
        claim = claimed(client)
        successor = Preemption(client, journal).put_back(claim)
        assert successor is not None
        again = backend.items[successor]
        assert again.spec == {**SPEC, "run_id": claim.run_id, "_resume_count": 1}
        assert again.priority == 0
        client.close()


def test_where_nobody_knows_what_the_job_was_the_error_says_so(
    journal: Journal, public: PublicBackend
) -> None:
    public.push("first", SPEC)
    client = WandbQueues(public.url, Secret(public.key))
    claim = claimed(client)
    with pytest.raises(QueueError, match="does not tell what the job was") as caught:
        Preemption(client, journal).put_back(claim)
    assert not isinstance(caught.value, QueueUnavailable)
    client.close()


def test_a_push_that_may_have_arrived_before_a_crash_is_not_repeated(
    journal: Journal, public: PublicBackend
) -> None:
    public.push("first", SPEC)
    client = WandbQueues(public.url, Secret(public.key))
    claim = claimed(client, journal)
    assert Preemption(client, journal).put_back(claim) is not None
    # The process ends here: the run's object is still there, and the next one sees it preempted.
    with pytest.raises(QueueError, match="may be in the queue"):
        Preemption(client, journal).put_back(claim)
    assert len(public.items) == 2
    client.close()


def test_a_backend_that_is_down_is_asked_again(journal: Journal, public: PublicBackend) -> None:
    public.push("first", SPEC)
    client = WandbQueues(public.url, Secret(public.key))
    claim = claimed(client, journal)
    client.close()
    nobody = WandbQueues("http://127.0.0.1:9", Secret(public.key), sleep=lambda _: None)
    preemption = Preemption(nobody, journal)
    for _ in range(2):
        with pytest.raises(QueueUnavailable):
            preemption.put_back(claim)
    nobody.close()


def test_our_server_puts_back_once_however_often_it_is_asked(journal: Journal, own: OwnServer) -> None:
    """The record is gone with its pod, and so is the note of the first attempt."""
    own.push("first", {**SPEC, "_wandb_api_key": "the submitter's"})
    claim = claimed(own.client)
    successors = {Preemption(own.client, journal).put_back(claim) for _ in range(3)}
    [lease] = own.client.pop(["first"], 9).leases
    assert successors == {lease.item_id}
    assert lease.spec["_wandb_api_key"] == "the submitter's"
    old = own.item(claim.item_id)
    assert old["detailedState"] == "PREEMPTED"
    assert lease.item_id in old["warnings"][0]["message"]


def test_an_item_that_ended_is_not_put_back(journal: Journal, own: OwnServer) -> None:
    own.push("first", SPEC)
    claim = claimed(own.client)
    own.ask_to_stop(claim)
    for lost in (claim, replace(claim, item_id="no-such-item")):
        with pytest.raises(QueueError, match="has ended, or was deleted"):
            Preemption(own.client, journal).put_back(lost)
    assert own.client.pop(["first"], 9).leases == ()


def test_the_run_goes_on_under_its_name(journal: Journal, own: OwnServer) -> None:
    own.push("first", SPEC)
    claim = claimed(own.client)
    own.start_run(claim)
    Preemption(own.client, journal).put_back(claim)
    assert own.client.run_states([claim]) == {claim.item_id: "preempted"}
    [lease] = own.client.pop(["first"], 1).leases
    again = replace(claim, item_id=lease.item_id)
    assert own.client.ack([again]) == {lease.item_id}
    assert own.client.run_states([again]) == {lease.item_id: "pending"}


def test_what_started_is_kept_until_it_ends_and_not_launched_again(journal: Journal) -> None:
    for item in ("one", "two"):
        lease = Lease(item_id=item, queue="first", entity=ENTITY, spec=SPEC)
        journal.record(Entry(lease=lease, identity=claim_of(lease)))
        journal.started(item)
    assert journal.pending() == []
    assert journal.spec_of("one") == SPEC
    journal.note_requeue("one")
    journal.sweep(lambda item: item == "two")
    assert (journal.spec_of("one"), journal.spec_of("two")) == (None, SPEC)
    assert not journal.note_requeue("one")
    journal.erase("two")
    assert journal.spec_of("two") is None
    journal.started("never recorded")
