"""Queue items and their states: the part where nothing may be lost and nothing done twice.

    PENDING -> LEASED -> CLAIMED -> FINISHED | FAILED | STOPPED | PREEMPTED
       ^________|  lease over        (FAILED and STOPPED from every state before; the first end stays)

Every change of state is one UPDATE that names the state it comes from, so that of two who try, one wins.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from launch_agent.server.store import tables
from launch_agent.server.store.ids import new_id
from launch_agent.server.store.rows import ItemRow, ItemState, NoteRow, Prioritization, QueueRow

_items = tables.items
_agents = tables.agents
_notes = tables.item_notes
_COLUMNS = [column for column in _items.c if column.name != "mutation_id"]


def push(
    connection: Connection,
    queue: QueueRow,
    *,
    spec: str,
    priority: int,
    author: str,
    mutation_id: str | None,
    now: float,
) -> ItemRow:
    """Add an item; where `mutation_id` was pushed before, the item of that time is the answer.

    A queue without prioritisation keeps the priority and does not look at it.
    """
    if mutation_id is not None:
        earlier = _one(connection, _items.c.queue_id == queue.id, _items.c.mutation_id == mutation_id)
        if earlier is not None:
            return earlier
    item_id = new_id("rqi")
    connection.execute(
        sa.insert(_items).values(
            id=item_id,
            queue_id=queue.id,
            priority=priority,
            state=ItemState.PENDING.value,
            spec=spec,
            author=author,
            mutation_id=mutation_id,
            created_at=now,
        )
    )
    pushed = find(connection, item_id)
    assert pushed is not None
    return pushed


def push_successor(connection: Connection, item: ItemRow, spec: str, now: float) -> ItemRow:
    """Add the item that takes up a preempted one's job; `successor` finds it."""
    item_id = new_id("rqi")
    connection.execute(
        sa.insert(_items).values(
            id=item_id,
            queue_id=item.queue_id,
            priority=item.priority,
            state=ItemState.PENDING.value,
            spec=spec,
            author=item.author,
            mutation_id=_succeeds(item),
            created_at=now,
        )
    )
    pushed = find(connection, item_id)
    assert pushed is not None
    return pushed


def successor(connection: Connection, item: ItemRow) -> ItemRow | None:
    """The item that took up a preempted one's job; None where none did, or it was deleted."""
    return _one(connection, _items.c.queue_id == item.queue_id, _items.c.mutation_id == _succeeds(item))


def _succeeds(item: ItemRow) -> str:
    return f"requeue {item.id}"


def has_next(connection: Connection, queue_id: str, now: float) -> bool:
    """Whether a pop would find something; costs no write."""
    ready = sa.and_(_items.c.queue_id == queue_id, _items.c.state == ItemState.PENDING.value)
    over = sa.and_(
        _items.c.queue_id == queue_id, _items.c.state == ItemState.LEASED.value, _items.c.lease_ends_at <= now
    )
    return connection.scalar(sa.select(sa.or_(sa.exists().where(ready), sa.exists().where(over)))) in (
        True,
        1,
    )


def pop(
    connection: Connection, queue: QueueRow, *, agent_id: str | None, now: float, lease_seconds: float
) -> ItemRow | None:
    """Lease the next item of a queue; None where there is none."""
    requeue_expired(connection, now, queue_id=queue.id)
    order = [_items.c.seq]
    if queue.prioritization is Prioritization.V0:
        order.insert(0, _items.c.priority)
    found = connection.scalar(
        sa.select(_items.c.id)
        .where(_items.c.queue_id == queue.id, _items.c.state == ItemState.PENDING.value)
        .order_by(*order)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if found is None:
        return None
    changed = _change(
        connection,
        found,
        [ItemState.PENDING],
        state=ItemState.LEASED.value,
        leased_at=now,
        lease_ends_at=now + lease_seconds,
        agent_id=agent_id,
        deliveries=_items.c.deliveries + 1,
    )
    return find(connection, found) if changed else None


def requeue_expired(connection: Connection, now: float, *, queue_id: str | None = None) -> set[str]:
    """Give back what was leased and not acked in time; returns the ids of the queues that got something."""
    over = [_items.c.state == ItemState.LEASED.value, _items.c.lease_ends_at <= now]
    if queue_id is not None:
        over.append(_items.c.queue_id == queue_id)
    queues = set(connection.scalars(sa.select(_items.c.queue_id).where(*over).distinct()))
    if queues:
        connection.execute(sa.update(_items).where(*over).values(**_BACK))
    return queues


_BACK: dict[str, Any] = {
    "state": ItemState.PENDING.value,
    "leased_at": None,
    "lease_ends_at": None,
    "agent_id": None,
}


def next_expiry(connection: Connection) -> float | None:
    """When the next lease is over; None where nothing is leased."""
    moment: float | None = connection.scalar(
        sa.select(sa.func.min(_items.c.lease_ends_at)).where(_items.c.state == ItemState.LEASED.value)
    )
    return moment


def release(connection: Connection, item_ids: Sequence[str]) -> None:
    """Give leases back at once, because the answer that carried them reached nobody."""
    connection.execute(
        sa.update(_items)
        .where(_items.c.id.in_(item_ids), _items.c.state == ItemState.LEASED.value)
        .values(**_BACK, deliveries=_items.c.deliveries - 1)
    )


class Claim(StrEnum):
    """What came of an ack."""

    NEW = "new"
    REPEATED = "repeated"
    LOST = "lost"


def claim(
    connection: Connection, item_id: str, *, agent_id: str | None, run_id: str, run_name: str, now: float
) -> Claim:
    """Claim a leased item for a run; doing so again for the same run is a repetition, not a loss.

    Where the agent says who it is, the lease must be its own. That matters where two agents derive the same
    run name from the item: without it, one whose lease is over would take the other's claim for its own.
    """
    own = [_items.c.agent_id == agent_id] if agent_id is not None else []
    if _change(
        connection,
        item_id,
        [ItemState.LEASED],
        _items.c.lease_ends_at > now,
        *own,
        state=ItemState.CLAIMED.value,
        claimed_at=now,
        lease_ends_at=None,
        run_id=run_id,
        run_name=run_name,
    ):
        return Claim.NEW
    item = find(connection, item_id)
    if item is None or item.state is not ItemState.CLAIMED or item.run_id != run_id:
        return Claim.LOST
    return Claim.REPEATED if agent_id is None or item.agent_id == agent_id else Claim.LOST


def end(connection: Connection, item_id: str, state: ItemState, now: float) -> bool:
    """Bring an item to its end; True where it is at this end now, whoever brought it there.

    Only what was claimed can finish or be preempted; failed and stopped it can be from the start.
    """
    origin = [ItemState.CLAIMED]
    if state in (ItemState.FAILED, ItemState.STOPPED):
        origin += [ItemState.PENDING, ItemState.LEASED]
    if _change(connection, item_id, origin, state=state.value, ended_at=now, lease_ends_at=None):
        return True
    item = find(connection, item_id)
    return item is not None and item.state is state


def end_with_run(connection: Connection, run_id: str, state: ItemState, now: float) -> None:
    """Bring a claimed item to its run's end, where its agent tells no ends but failures: the official one.

    An agent of ours reports more, and later: its container may fail after the run has said good-bye.
    """
    official = sa.select(_agents.c.id).where(~_agents.c.version.startswith("launch-agent@"))
    connection.execute(
        sa.update(_items)
        .where(
            _items.c.run_id == run_id,
            _items.c.state == ItemState.CLAIMED.value,
            _items.c.agent_id.in_(official),
        )
        .values(state=state.value, ended_at=now)
    )


def request_stop(connection: Connection, item_id: str, now: float) -> ItemRow | None:
    """Ask for an item to be stopped. A pending or leased one ends here: an ack of it then fails.

    Returns the item as it is then; None where there is none.
    """
    _change(
        connection,
        item_id,
        [ItemState.PENDING, ItemState.LEASED],
        state=ItemState.STOPPED.value,
        ended_at=now,
        lease_ends_at=None,
        stop_requested=True,
    )
    _change(connection, item_id, [ItemState.CLAIMED], stop_requested=True)
    return find(connection, item_id)


def note(
    connection: Connection,
    item_id: str,
    *,
    kind: str,
    message: str,
    stage: str,
    files: Sequence[str],
    now: float,
) -> None:
    """Put an error or a warning beside an item."""
    connection.execute(
        sa.insert(_notes).values(
            item_id=item_id,
            kind=kind,
            message=message,
            stage=stage,
            files=json.dumps(list(files)),
            created_at=now,
        )
    )


def notes(connection: Connection, item_id: str, kind: str) -> list[NoteRow]:
    """Errors or warnings of an item, oldest first."""
    query = sa.select(_notes).where(_notes.c.item_id == item_id, _notes.c.kind == kind).order_by(_notes.c.id)
    return [
        NoteRow(
            kind=row.kind,
            message=row.message,
            stage=row.stage,
            files=json.loads(row.files),
            created_at=row.created_at,
        )
        for row in connection.execute(query)
    ]


def find(connection: Connection, item_id: str) -> ItemRow | None:
    return _one(connection, _items.c.id == item_id)


def list_items(
    connection: Connection,
    queue_id: str,
    *,
    limit: int,
    after: int | None = None,
    newest_first: bool = False,
    states: Sequence[ItemState] = (),
) -> list[ItemRow]:
    """Items of a queue by age; `after` is the `seq` that the page before ended with."""
    query = sa.select(*_COLUMNS).where(_items.c.queue_id == queue_id).limit(limit)
    if states:
        query = query.where(_items.c.state.in_([state.value for state in states]))
    if after is not None:
        query = query.where(_items.c.seq < after if newest_first else _items.c.seq > after)
    query = query.order_by(_items.c.seq.desc() if newest_first else _items.c.seq)
    return [_item(row) for row in connection.execute(query)]


def counts(connection: Connection, queue_id: str) -> dict[str, int]:
    """How many items of a queue are in each state; states without items are missing."""
    query = (
        sa.select(_items.c.state, sa.func.count())
        .where(_items.c.queue_id == queue_id)
        .group_by(_items.c.state)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def count_claimed(connection: Connection, agent_id: str) -> int:
    query = sa.select(sa.func.count()).where(
        _items.c.agent_id == agent_id, _items.c.state == ItemState.CLAIMED.value
    )
    return int(connection.scalar(query) or 0)


def delete(connection: Connection, queue_id: str, item_id: str) -> bool:
    """Forget an item, whatever its state; an ack of it then fails."""
    found = connection.execute(sa.delete(_items).where(_items.c.queue_id == queue_id, _items.c.id == item_id))
    return found.rowcount == 1


def _change(
    connection: Connection,
    item_id: str,
    origin: Sequence[ItemState],
    *conditions: sa.ColumnElement[bool],
    **values: Any,
) -> bool:
    changed = connection.execute(
        sa.update(_items)
        .where(_items.c.id == item_id, _items.c.state.in_([state.value for state in origin]), *conditions)
        .values(**values)
    )
    return changed.rowcount == 1


def _one(connection: Connection, *conditions: sa.ColumnElement[bool]) -> ItemRow | None:
    row = connection.execute(sa.select(*_COLUMNS).where(*conditions)).one_or_none()
    return _item(row) if row is not None else None


def _item(row: Row[Any]) -> ItemRow:
    values = dict(row._mapping)
    values["state"] = ItemState(values["state"])
    return ItemRow(**values)
