"""Agents, as far as they tell about themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from launch_agent.server.store import tables
from launch_agent.server.store.ids import new_id
from launch_agent.server.store.rows import AgentRow

_agents = tables.agents
# Official agents take their name for the id of a run of their own, and not everything can be in one.
_NOT_LEGAL = re.compile(r"[^A-Za-z0-9_.-]+")


def create(
    connection: Connection,
    *,
    entity: str,
    project: str,
    name: str,
    hostname: str,
    version: str,
    config: str,
    queue_ids: Sequence[str],
    now: float,
) -> str:
    """Register an agent; returns its id."""
    agent_id = new_id("agt")
    connection.execute(
        sa.insert(_agents).values(
            id=agent_id,
            entity=entity,
            project=project,
            name=name or f"{_NOT_LEGAL.sub('-', hostname)[:64]}-{agent_id[-6:]}",
            hostname=hostname,
            version=version,
            config=config,
            queue_ids=json.dumps(list(queue_ids)),
            status="POLLING",
            stop_polling=False,
            created_at=now,
            heartbeat_at=now,
        )
    )
    return agent_id


def find(connection: Connection, agent_id: str) -> AgentRow | None:
    row = connection.execute(sa.select(_agents).where(_agents.c.id == agent_id)).one_or_none()
    return _agent(row) if row is not None else None


def heartbeat(connection: Connection, agent_id: str, status: str | None, now: float) -> bool:
    """Note that an agent lives; False where it is not known."""
    values: dict[str, Any] = {"heartbeat_at": now}
    if status is not None:
        values["status"] = status
    changed = connection.execute(sa.update(_agents).where(_agents.c.id == agent_id).values(**values))
    return changed.rowcount == 1


def stop(connection: Connection, agent_id: str) -> bool:
    """Ask an agent to end; False where it is not known."""
    changed = connection.execute(sa.update(_agents).where(_agents.c.id == agent_id).values(stop_polling=True))
    return changed.rowcount == 1


def list_agents(connection: Connection, entity: str | None, *, limit: int = 200) -> list[AgentRow]:
    """The newest first; of every entity where `entity` is None."""
    query = sa.select(_agents).order_by(_agents.c.created_at.desc()).limit(limit)
    if entity is not None:
        query = query.where(_agents.c.entity == entity)
    return [_agent(row) for row in connection.execute(query)]


def _agent(row: Row[Any]) -> AgentRow:
    values = dict(row._mapping)
    values["queue_ids"] = json.loads(values["queue_ids"])
    return AgentRow(**values)
