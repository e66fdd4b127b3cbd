"""The queues in memory keep the contract of the real clients, or what is tested with them proves little."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from launch_agent.queues import Directive
from launch_agent.spec.model import Lease, RunIdentity
from tests.contracts.queue_client import ENTITY, QueueClientContract
from tests.fakes.memory_queues import MemoryQueues


class MemoryWorld:
    def __init__(self) -> None:
        self.client = MemoryQueues(entity=ENTITY, waiting={"first": [], "second": []})
        self._numbers = itertools.count()

    def push(self, queue: str, spec: Mapping[str, Any]) -> str:
        item = f"item-{next(self._numbers)}"
        self.client.waiting[queue].append(Lease(item_id=item, queue=queue, entity=ENTITY, spec=spec))
        return item

    def state(self, queue: str, item_id: str) -> str:
        if any(item == item_id and outcome.failure for item, outcome in self.client.finished):
            return "FAILED"
        if item_id in self.client.claimed:
            return "CLAIMED"
        if item_id in self.client.leased:
            return "LEASED"
        assert item_id in [lease.item_id for lease in self.client.waiting[queue]]
        return "PENDING"

    def error(self, queue: str, item_id: str) -> str:
        assert queue
        return next(str(outcome.failure) for item, outcome in self.client.finished if item == item_id)

    def start_run(self, claim: RunIdentity) -> None:
        self.client.states[claim.item_id] = "running"

    def ask_to_stop(self, claim: RunIdentity) -> None:
        self.client.stops.add(claim.item_id)

    def stop_agent(self, agent_id: str) -> None:
        assert agent_id
        self.client.directive = Directive(stop=True)

    def expire_leases(self) -> None:
        self.client.expire_leases()


class TestMemoryQueues(QueueClientContract):
    @pytest.fixture
    def world(self) -> MemoryWorld:
        return MemoryWorld()
