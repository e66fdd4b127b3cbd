"""What every QueueClient keeps, whatever backend it speaks to.

A test class inherits `QueueClientContract` and gives a `world` fixture: a backend with the queues `first` and
`second` in entity `acme`, and a client of it that has not registered yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pytest

from launch_agent.errors import QueueError
from launch_agent.queues import AgentStatus, QueueClient, Registration
from launch_agent.spec.identity import run_id_for
from launch_agent.spec.model import Failure, Lease, Notice, Outcome, RunIdentity, RunState, Stage

ENTITY = "acme"
SPEC = {
    "entity": ENTITY,
    "project": "train",
    "resource": "local-process",
    "docker": {"docker_image": "img:1"},
}


class QueueWorld(Protocol):
    """A backend from behind: what its users and runs do to it."""

    @property
    def client(self) -> QueueClient: ...
    def push(self, queue: str, spec: Mapping[str, Any]) -> str: ...
    def state(self, queue: str, item_id: str) -> str: ...
    def error(self, queue: str, item_id: str) -> str: ...
    def start_run(self, claim: RunIdentity) -> None: ...
    def ask_to_stop(self, claim: RunIdentity) -> None: ...
    def stop_agent(self, agent_id: str) -> None: ...
    def expire_leases(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A world whose client is registered."""

    world: QueueWorld
    agent_id: str

    @property
    def client(self) -> QueueClient:
        return self.world.client


def registration(*queues: str, entity: str = ENTITY) -> Registration:
    return Registration(
        entity=entity, queues=queues, name="test-agent", version="launch-agent@test", config={"max_jobs": 3}
    )


def claim_of(lease: Lease) -> RunIdentity:
    return RunIdentity(
        agent="test-agent",
        item_id=lease.item_id,
        queue=lease.queue,
        queue_entity=lease.entity,
        run_id=run_id_for("agent", lease.item_id),
        entity=str(lease.spec.get("entity", ENTITY)),
        project=str(lease.spec.get("project", "train")),
    )


class QueueClientContract:
    @pytest.fixture
    def started(self, world: QueueWorld) -> Started:
        registered = world.client.register(registration("first", "second"))
        return Started(world=world, agent_id=registered.agent_id)

    def claimed(self, started: Started, queue: str = "first") -> RunIdentity:
        started.world.push(queue, SPEC)
        [lease] = started.client.pop([queue], 1).leases
        claim = claim_of(lease)
        assert started.client.ack([claim]) == {claim.item_id}
        return claim

    @pytest.mark.req("AGT-3", "QUEUE-8", "QUEUE-9")
    def test_registration_tells_whose_queues_they_are(self, world: QueueWorld) -> None:
        registered = world.client.register(registration("first", "second"))
        assert registered.entity == ENTITY
        assert registered.agent_id

    @pytest.mark.req("QUEUE-8")
    def test_without_an_entity_the_keys_own_is_meant(self, world: QueueWorld) -> None:
        assert world.client.register(registration("first", entity="")).entity == ENTITY

    def test_every_queue_that_is_missing_is_named(self, world: QueueWorld) -> None:
        with pytest.raises(QueueError) as caught:
            world.client.register(registration("first", "thrid", "fourth"))
        text = str(caught.value)
        assert all(word in text for word in ("'thrid'", "'fourth'", "first, second"))

    @pytest.mark.req("QUEUE-1", "AGT-5")
    def test_items_leave_a_queue_in_their_order(self, started: Started) -> None:
        pushed = [started.world.push("first", SPEC) for _ in range(5)]
        popped = started.client.pop(["first"], 10)
        assert [lease.item_id for lease in popped.leases] == pushed

    @pytest.mark.req("QUEUE-12")
    def test_a_lease_carries_the_spec(self, started: Started) -> None:
        started.world.push("second", SPEC)
        [lease] = started.client.pop(["first", "second"], 5).leases
        assert (lease.queue, lease.entity) == ("second", ENTITY)
        assert {key: lease.spec[key] for key in ("entity", "project", "docker")} == {
            key: SPEC[key] for key in ("entity", "project", "docker")
        }

    @pytest.mark.req("QUEUE-4")
    def test_an_item_is_leased_once(self, started: Started) -> None:
        started.world.push("first", SPEC)
        assert len(started.client.pop(["first"], 9).leases) == 1
        assert started.client.pop(["first"], 9).leases == ()

    def test_no_more_is_leased_than_asked_for(self, started: Started) -> None:
        items = [started.world.push(queue, SPEC) for queue in ("first", "second") for _ in range(4)]
        assert len(started.client.pop(["first", "second"], 3).leases) == 3
        states = [started.world.state("first", item) for item in items[:4]]
        states += [started.world.state("second", item) for item in items[4:]]
        assert sorted(states) == ["LEASED"] * 3 + ["PENDING"] * 5

    @pytest.mark.req("AGT-3")
    def test_queues_take_turns(self, started: Started) -> None:
        for queue in ("first", "second"):
            for _ in range(6):
                started.world.push(queue, SPEC)
        popped = started.client.pop(["second", "first"], 6)
        assert [lease.queue for lease in popped.leases] == ["second", "first"] * 3

    def test_a_burst_is_popped_in_one_call(self, started: Started) -> None:
        pushed = {started.world.push("first", SPEC) for _ in range(40)}
        assert {lease.item_id for lease in started.client.pop(["first"], 100).leases} == pushed

    def test_a_lease_that_is_not_acked_comes_back(self, started: Started) -> None:
        item = started.world.push("first", SPEC)
        started.client.pop(["first"], 1)
        started.world.expire_leases()
        assert [lease.item_id for lease in started.client.pop(["first"], 1).leases] == [item]

    @pytest.mark.req("QUEUE-4")
    def test_an_acked_item_is_ours_for_good(self, started: Started) -> None:
        claim = self.claimed(started)
        started.world.expire_leases()
        assert started.world.state("first", claim.item_id) == "CLAIMED"
        assert started.client.pop(["first"], 1).leases == ()
        assert started.client.is_claimed(claim)

    def test_an_ack_may_be_repeated(self, started: Started) -> None:
        claim = self.claimed(started)
        assert started.client.ack([claim]) == {claim.item_id}

    def test_an_ack_of_a_lost_lease_tells_so(self, started: Started) -> None:
        started.world.push("first", SPEC)
        [lease] = started.client.pop(["first"], 1).leases
        claim = claim_of(lease)
        started.world.expire_leases()
        assert started.client.ack([claim]) == set()
        assert not started.client.is_claimed(claim)

    def test_acks_are_told_apart(self, started: Started) -> None:
        for _ in range(30):
            started.world.push("first", SPEC)
        claims = [claim_of(lease) for lease in started.client.pop(["first"], 20).leases]
        unknown = claim_of(Lease(item_id="unknown", queue="first", entity=ENTITY, spec=SPEC))
        assert started.client.ack([*claims, unknown]) == {claim.item_id for claim in claims}
        assert started.client.ack([]) == set()

    def test_an_item_claimed_for_another_run_is_not_ours(self, started: Started) -> None:
        claim = self.claimed(started)
        lease = Lease(item_id=claim.item_id, queue="first", entity=ENTITY, spec=SPEC)
        other = RunIdentity(
            agent="other",
            item_id=lease.item_id,
            queue="first",
            queue_entity=ENTITY,
            run_id="otherrun",
            entity=ENTITY,
            project="train",
        )
        assert not started.client.is_claimed(other)
        assert started.client.ack([other]) == set()

    def test_a_failure_tells_its_reason_and_hint(self, started: Started) -> None:
        claim = self.claimed(started)
        failure = Failure(
            stage=Stage.RUN, reason="OOMKilled", message="the run needed more memory", hint="ask for more"
        )
        outcome = Outcome(state=RunState.FAILED, failure=failure)
        for _ in range(2):  # reporting twice is harmless
            started.client.finish(claim, outcome)
        assert started.world.state("first", claim.item_id) == "FAILED"
        message = started.world.error("first", claim.item_id)
        assert all(word in message for word in ("OOMKilled", "more memory", "ask for more"))

    def test_an_item_can_fail_before_it_is_acked(self, started: Started) -> None:
        started.world.push("first", SPEC)
        [lease] = started.client.pop(["first"], 1).leases
        failure = Failure(stage=Stage.AGENT, reason="Refused", message="privileged is not allowed")
        started.client.finish(claim_of(lease), Outcome(state=RunState.FAILED, failure=failure))
        assert started.world.state("first", lease.item_id) == "FAILED"

    @pytest.mark.parametrize("state", [RunState.FINISHED, RunState.STOPPED, RunState.PREEMPTED])
    def test_other_ends_are_told_where_the_backend_takes_them(
        self, started: Started, state: RunState
    ) -> None:
        claim = self.claimed(started)
        started.client.finish(claim, Outcome(state=state))
        assert started.world.state("first", claim.item_id) == "CLAIMED"

    def test_many_ends_are_told_at_once(self, started: Started) -> None:
        claims = [self.claimed(started) for _ in range(30)]
        failure = Failure(stage=Stage.RUN, reason="OOMKilled", message="needed more memory")
        ends = [
            (
                claim,
                Outcome(state=RunState.FAILED, failure=failure)
                if number % 2
                else Outcome(state=RunState.FINISHED),
            )
            for number, claim in enumerate(claims)
        ]
        for _ in range(2):  # reporting twice is harmless
            assert list(started.client.finish_all(ends)) == [None] * 30
        states = [started.world.state("first", claim.item_id) for claim in claims]
        assert states == ["CLAIMED", "FAILED"] * 15
        assert list(started.client.finish_all([])) == []

    def test_a_preempted_job_goes_back_to_its_queue(self, started: Started) -> None:
        """openings L9: what it was, its sweep and its run included; so often, and no more."""
        spec = {**SPEC, "sweep_id": "s1", "name": "trial 7"}
        started.world.push("first", spec)
        [lease] = started.client.pop(["first"], 1).leases
        claim = claim_of(lease)
        for attempt in (1, 2):
            assert started.client.ack([claim]) == {claim.item_id}
            successor = started.client.requeue(claim, lease.spec, most=2)
            [lease] = started.client.pop(["first"], 9).leases
            assert lease.item_id == successor
            wanted = {**spec, "run_id": claim.run_id, "_resume_count": attempt}
            assert {key: lease.spec.get(key) for key in wanted} == wanted
            claim = replace(claim, item_id=lease.item_id)
        assert started.client.ack([claim]) == {claim.item_id}
        assert started.client.requeue(claim, lease.spec, most=2) is None
        assert started.world.state("first", claim.item_id) == "CLAIMED"
        assert started.client.pop(["first"], 9).leases == ()

    def test_a_warning_leaves_the_item_as_it_is(self, started: Started) -> None:
        claim = self.claimed(started)
        started.client.warn(claim, Notice(stage=Stage.RUN, message="0/3 nodes are available"))
        assert started.world.state("first", claim.item_id) == "CLAIMED"

    def test_runs_that_have_not_reported_themselves(self, started: Started) -> None:
        claim = self.claimed(started)
        assert started.client.run_states([claim]).get(claim.item_id) in (None, "pending")
        assert started.client.stop_requested([claim]) == set()

    def test_stops_are_asked_for_all_runs_at_once(self, started: Started) -> None:
        claims = [self.claimed(started, queue) for queue in ("first", "second", "first")]
        for claim in claims:
            started.world.start_run(claim)
        started.world.ask_to_stop(claims[1])
        assert started.client.stop_requested(claims) == {claims[1].item_id}
        assert started.client.stop_requested([]) == set()

    def test_run_states_are_the_backends_words(self, started: Started) -> None:
        claim = self.claimed(started)
        started.world.start_run(claim)
        assert started.client.run_states([claim]) == {claim.item_id: "running"}

    def test_a_heartbeat_hears_of_a_stop(self, started: Started) -> None:
        assert not started.client.heartbeat(AgentStatus.POLLING).stop
        assert not started.client.heartbeat(AgentStatus.RUNNING).stop
        started.world.stop_agent(started.agent_id)
        assert started.client.heartbeat(AgentStatus.RUNNING).stop
        started.client.heartbeat(AgentStatus.KILLED)

    def test_reports_go_through_after_close(self, started: Started) -> None:
        claim = self.claimed(started)
        started.client.close()
        with pytest.raises(QueueError):
            started.client.pop(["first"], 1)
        started.client.finish(claim, Outcome(state=RunState.FINISHED))
        started.client.heartbeat(AgentStatus.KILLED)
        started.client.close()
