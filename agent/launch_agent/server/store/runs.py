"""Runs: made when an agent claims an item, filled when the job's own client reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from launch_agent.server.store import tables
from launch_agent.server.store.ids import new_id
from launch_agent.server.store.rows import RunRow

_runs = tables.runs
_lines = tables.run_lines


def ensure(
    connection: Connection, entity: str, project: str, name: str, *, user_id: str, now: float
) -> tuple[RunRow, bool]:
    """The run, made as pending where there is none; and whether it was made."""
    found = find(connection, entity, project, name)
    if found is not None:
        return found, False
    run_id = new_id("run")
    connection.execute(
        sa.insert(_runs).values(
            id=run_id,
            entity=entity,
            project=project,
            name=name,
            state="pending",
            user_id=user_id,
            created_at=now,
            heartbeat_at=now,
        )
    )
    made = find_by_id(connection, run_id)
    assert made is not None
    return made, True


def find(connection: Connection, entity: str, project: str, name: str) -> RunRow | None:
    return _one(connection, _runs.c.entity == entity, _runs.c.project == project, _runs.c.name == name)


def find_by_id(connection: Connection, run_id: str) -> RunRow | None:
    return _one(connection, _runs.c.id == run_id)


def list_runs(
    connection: Connection, entity: str, project: str, *, limit: int, after: float | None = None
) -> list[RunRow]:
    """Runs that have reported themselves, newest first; `after` is the page before's last `created_at`."""
    query = (
        sa.select(_runs)
        .where(_runs.c.entity == entity, _runs.c.project == project, _runs.c.initialised)
        .order_by(_runs.c.created_at.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(_runs.c.created_at < after)
    return [_run(row) for row in connection.execute(query)]


def count(connection: Connection, entity: str, project: str) -> int:
    query = sa.select(sa.func.count()).where(
        _runs.c.entity == entity, _runs.c.project == project, _runs.c.initialised
    )
    return int(connection.scalar(query) or 0)


def update(
    connection: Connection,
    run: RunRow,
    *,
    now: float,
    fields: Mapping[str, Any] | None = None,
    **columns: Any,
) -> None:
    """Set columns, merge `fields` over those that are there, and note that the run lives."""
    values: dict[str, Any] = {"heartbeat_at": now, **columns}
    if fields:
        values["fields"] = json.dumps({**run.fields, **fields})
    connection.execute(sa.update(_runs).where(_runs.c.id == run.id).values(**values))


def settle(connection: Connection, run_id: str, state: str, now: float) -> None:
    """Give a run that did not report its own end the end that its agent saw."""
    connection.execute(
        sa.update(_runs)
        .where(_runs.c.id == run_id, _runs.c.state.in_(["pending", "running"]))
        .values(state=state, heartbeat_at=now)
    )


def stop(connection: Connection, run_id: str) -> bool:
    """Ask a run to stop; False where it is not known."""
    changed = connection.execute(sa.update(_runs).where(_runs.c.id == run_id).values(stopped=True))
    return changed.rowcount == 1


def put_lines(connection: Connection, run_id: str, stream: str, offset: int, content: Sequence[str]) -> None:
    """Store lines from `offset` on. A client sends the same offsets again after an error: the last wins."""
    if not content:
        return
    last = offset + len(content) - 1
    connection.execute(
        sa.delete(_lines).where(
            _lines.c.run_id == run_id, _lines.c.stream == stream, _lines.c.number.between(offset, last)
        )
    )
    rows = [
        {"run_id": run_id, "stream": stream, "number": offset + index, "line": line}
        for index, line in enumerate(content)
    ]
    connection.execute(sa.insert(_lines), rows)


def lines(
    connection: Connection,
    run_id: str,
    stream: str,
    *,
    limit: int,
    after: int | None = None,
    newest: bool = False,
) -> list[tuple[int, str]]:
    """(number, line) in order; the last `limit` ones where `newest`, else those that follow `after`."""
    query = sa.select(_lines.c.number, _lines.c.line).where(
        _lines.c.run_id == run_id, _lines.c.stream == stream
    )
    if after is not None:
        query = query.where(_lines.c.number > after)
    query = query.order_by(_lines.c.number.desc() if newest else _lines.c.number).limit(limit)
    rows = [(row.number, row.line) for row in connection.execute(query)]
    return rows[::-1] if newest else rows


def count_lines(connection: Connection, run_id: str, stream: str) -> int:
    """One more than the highest number: the offset at which a client goes on."""
    query = sa.select(sa.func.max(_lines.c.number)).where(
        _lines.c.run_id == run_id, _lines.c.stream == stream
    )
    highest = connection.scalar(query)
    return 0 if highest is None else int(highest) + 1


def _one(connection: Connection, *conditions: sa.ColumnElement[bool]) -> RunRow | None:
    row = connection.execute(sa.select(_runs).where(*conditions)).one_or_none()
    return _run(row) if row is not None else None


def _run(row: Row[Any]) -> RunRow:
    values = dict(row._mapping)
    values["fields"] = json.loads(values["fields"])
    return RunRow(**values)


def delete(connection: Connection, run_id: str) -> bool:
    """Forget a run with its lines and files; False where there is none."""
    return connection.execute(sa.delete(_runs).where(_runs.c.id == run_id)).rowcount > 0
