"""Queues, their configurations, and the projects that they and the runs belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from launch_agent.server.store import tables
from launch_agent.server.store.ids import new_id
from launch_agent.server.store.rows import Prioritization, ProjectRow, QueueRow, ResourceConfigRow

_queues = tables.queues
_configs = tables.resource_configs
_projects = tables.projects


def ensure_project(connection: Connection, entity: str, name: str, now: float) -> tuple[ProjectRow, bool]:
    """The project, made where there is none; and whether it was made."""
    found = find_project(connection, entity, name)
    if found is not None:
        return found, False
    row = ProjectRow(
        id=new_id("prj"), entity=entity, name=name, description="", access="PRIVATE", created_at=now
    )
    connection.execute(
        sa.insert(_projects).values(
            id=row.id, entity=entity, name=name, description="", access="PRIVATE", created_at=now
        )
    )
    return row, True


def find_project(connection: Connection, entity: str, name: str) -> ProjectRow | None:
    query = sa.select(_projects).where(_projects.c.entity == entity, _projects.c.name == name)
    row = connection.execute(query).one_or_none()
    return ProjectRow(**row._mapping) if row is not None else None


def list_projects(connection: Connection, entity: str) -> list[ProjectRow]:
    query = sa.select(_projects).where(_projects.c.entity == entity).order_by(_projects.c.name)
    return [ProjectRow(**row._mapping) for row in connection.execute(query)]


def list_entities(connection: Connection) -> list[str]:
    """The entities that own a queue, by name."""
    return list(connection.scalars(sa.select(_queues.c.entity).distinct().order_by(_queues.c.entity)))


def create_config(
    connection: Connection,
    *,
    entity: str,
    resource: str,
    config: Mapping[str, Any],
    variables: Mapping[str, Mapping[str, Any]],
    now: float,
) -> str:
    """Store a configuration; returns its id. A configuration is never changed, only replaced by another."""
    config_id = new_id("rcf")
    connection.execute(
        sa.insert(_configs).values(
            id=config_id,
            entity=entity,
            resource=resource,
            config=json.dumps(config),
            variables=json.dumps(variables),
            created_at=now,
        )
    )
    return config_id


def find_config(connection: Connection, config_id: str | None) -> ResourceConfigRow | None:
    if config_id is None:
        return None
    row = connection.execute(sa.select(_configs).where(_configs.c.id == config_id)).one_or_none()
    if row is None:
        return None
    return ResourceConfigRow(
        id=row.id,
        entity=row.entity,
        resource=row.resource,
        config=json.loads(row.config),
        variables=json.loads(row.variables),
    )


def create_queue(
    connection: Connection,
    *,
    entity: str,
    project: str,
    name: str,
    access: str,
    prioritization: Prioritization,
    config_id: str | None,
    created_by: str,
    now: float,
    external_links: str = '{"links": []}',
) -> str:
    """Make a queue; returns its id."""
    ensure_project(connection, entity, project, now)
    queue_id = new_id("rq")
    connection.execute(
        sa.insert(_queues).values(
            id=queue_id,
            entity=entity,
            project=project,
            name=name,
            access=access,
            prioritization=prioritization.value,
            config_id=config_id,
            external_links=external_links,
            created_by=created_by,
            created_at=now,
        )
    )
    return queue_id


def update_queue(
    connection: Connection,
    queue_id: str,
    *,
    prioritization: Prioritization | None,
    config_id: str,
    external_links: str | None,
) -> None:
    """Give a queue another configuration; what is None stays as it is."""
    values: dict[str, Any] = {"config_id": config_id}
    if prioritization is not None:
        values["prioritization"] = prioritization.value
    if external_links is not None:
        values["external_links"] = external_links
    connection.execute(sa.update(_queues).where(_queues.c.id == queue_id).values(**values))


def find_queue(connection: Connection, entity: str, project: str, name: str) -> QueueRow | None:
    query = sa.select(_queues).where(
        _queues.c.entity == entity, _queues.c.project == project, _queues.c.name == name
    )
    row = connection.execute(query).one_or_none()
    return _queue(row) if row is not None else None


def find_queue_by_id(connection: Connection, queue_id: str) -> QueueRow | None:
    row = connection.execute(sa.select(_queues).where(_queues.c.id == queue_id)).one_or_none()
    return _queue(row) if row is not None else None


def list_queues(
    connection: Connection, entity: str | None = None, project: str | None = None
) -> list[QueueRow]:
    """By entity and name; None leaves the entity or project open."""
    query = sa.select(_queues).order_by(_queues.c.entity, _queues.c.name)
    if entity is not None:
        query = query.where(_queues.c.entity == entity)
    if project is not None:
        query = query.where(_queues.c.project == project)
    return [_queue(row) for row in connection.execute(query)]


def delete_queues(connection: Connection, queue_ids: Sequence[str]) -> int:
    """Delete queues with all their items; returns how many there were. Runs and their files stay."""
    return connection.execute(sa.delete(_queues).where(_queues.c.id.in_(queue_ids))).rowcount


def _queue(row: Row[Any]) -> QueueRow:
    values = dict(row._mapping)
    values["prioritization"] = Prioritization(values["prioritization"])
    return QueueRow(**values)
