"""The states of items against a model of them, whatever the order of events."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from launch_agent.server.store import Store, items, queues
from launch_agent.server.store.items import Claim
from launch_agent.server.store.rows import ItemState, Prioritization, QueueRow
from tests.fakes.clock import Clock

_LEASE = 60.0
_RUNS = st.sampled_from(["run-a", "run-b"])
_ANY = st.integers(min_value=0, max_value=7)


@dataclass
class _Item:
    """What we know of an item."""

    order: tuple[int, int]
    state: ItemState = ItemState.PENDING
    lease_ends: float = 0.0
    run: str = ""
    claims: int = 0


class QueueMachine(RuleBasedStateMachine):
    """Pushes, pops, acks, ends, stops and lets time pass, in a queue with priorities."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = Store(f"sqlite:///{Path(self.folder.name) / 'q.db'}", clock=self.clock)
        self.queue = self._queue()
        self.known: dict[str, _Item] = {}

    def _queue(self) -> QueueRow:
        with self.store.writing() as connection:
            queue_id = queues.create_queue(
                connection,
                entity="e",
                project="p",
                name="q",
                access="PROJECT",
                prioritization=Prioritization.V0,
                config_id=None,
                created_by="u",
                now=self.clock(),
            )
            queue = queues.find_queue_by_id(connection, queue_id)
        assert queue is not None
        return queue

    def _pick(self, number: int) -> str | None:
        """One of the last pushed items: with all of them, a rule would seldom meet one twice."""
        ids = list(self.known)[-8:]
        return ids[number % len(ids)] if ids else None

    def _expire(self) -> None:
        for item in self.known.values():
            if item.state is ItemState.LEASED and item.lease_ends <= self.clock():
                item.state = ItemState.PENDING

    @rule(priority=st.integers(min_value=0, max_value=3))
    def push(self, priority: int) -> None:
        with self.store.writing() as connection:
            row = items.push(
                connection,
                self.queue,
                spec="{}",
                priority=priority,
                author="u",
                mutation_id=None,
                now=self.clock(),
            )
        self.known[row.id] = _Item(order=(priority, len(self.known)))

    @rule()
    def pop(self) -> None:
        self._expire()
        pending = [(item.order, id_) for id_, item in self.known.items() if item.state is ItemState.PENDING]
        with self.store.writing() as connection:
            has_next = items.has_next(connection, self.queue.id, self.clock())
            row = items.pop(connection, self.queue, agent_id="a", now=self.clock(), lease_seconds=_LEASE)
        assert has_next == bool(pending)
        assert (row.id if row else None) == (min(pending)[1] if pending else None)
        if row is not None:
            self.known[row.id].state = ItemState.LEASED
            self.known[row.id].lease_ends = self.clock() + _LEASE

    @rule(number=_ANY, run=_RUNS)
    def ack(self, number: int, run: str) -> None:
        id_ = self._pick(number)
        if id_ is None:
            return
        item = self.known[id_]
        is_leased = item.state is ItemState.LEASED and item.lease_ends > self.clock()
        with self.store.writing() as connection:
            claim = items.claim(connection, id_, agent_id=None, run_id=run, run_name=run, now=self.clock())
        if is_leased:
            assert claim is Claim.NEW
            item.state, item.run, item.claims = ItemState.CLAIMED, run, item.claims + 1
        elif item.state is ItemState.CLAIMED and item.run == run:
            assert claim is Claim.REPEATED
        else:
            assert claim is Claim.LOST

    @rule(number=_ANY, end=st.sampled_from([state for state in ItemState if state.is_terminal]))
    def end(self, number: int, end: ItemState) -> None:
        id_ = self._pick(number)
        if id_ is None:
            return
        item = self.known[id_]
        needs_claim = end in (ItemState.FINISHED, ItemState.PREEMPTED)
        may = item.state is ItemState.CLAIMED or (not needs_claim and not item.state.is_terminal)
        with self.store.writing() as connection:
            ended = items.end(connection, id_, end, self.clock())
        assert ended == (may or item.state is end)
        if may:
            item.state = end

    @rule(number=_ANY)
    def stop(self, number: int) -> None:
        id_ = self._pick(number)
        if id_ is None:
            return
        item = self.known[id_]
        with self.store.writing() as connection:
            row = items.request_stop(connection, id_, self.clock())
        assert row is not None
        if item.state in (ItemState.PENDING, ItemState.LEASED):
            item.state = ItemState.STOPPED
        assert row.state is item.state

    @rule(number=_ANY)
    def give_back(self, number: int) -> None:
        id_ = self._pick(number)
        if id_ is None:
            return
        with self.store.writing() as connection:
            items.release(connection, [id_])
        if self.known[id_].state is ItemState.LEASED:
            self.known[id_].state = ItemState.PENDING

    @rule(seconds=st.sampled_from([1.0, 30.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.clock.forward(seconds)

    @rule()
    def sweep(self) -> None:
        self._expire()
        with self.store.writing() as connection:
            items.requeue_expired(connection, self.clock())
            assert items.requeue_expired(connection, self.clock()) == set()

    @rule()
    def restart(self) -> None:
        url = str(self.store.engine.url)
        self.store.close()
        self.store = Store(url, clock=self.clock)

    @invariant()
    def nothing_is_lost_or_claimed_twice(self) -> None:
        with self.store.reading() as connection:
            rows = items.list_items(connection, self.queue.id, limit=1000)
            counts = items.counts(connection, self.queue.id)
        assert {row.id for row in rows} == set(self.known)
        assert sum(counts.values()) == len(self.known)
        for row in rows:
            item = self.known[row.id]
            assert item.claims <= 1
            is_over = row.lease_ends_at is not None and row.lease_ends_at <= self.clock()
            if not (row.state is ItemState.LEASED and is_over):
                assert row.state is item.state

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


QueueMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
test_states = pytest.mark.req("QUEUE-1", "QUEUE-2", "QUEUE-4")(QueueMachine.TestCase)
