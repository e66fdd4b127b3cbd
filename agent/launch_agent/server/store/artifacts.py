"""Artifacts: versions of named collections, their aliases, manifests and files.

A version is pending until it is committed; only then it gets its number and its aliases. A pending one that
is never committed costs a row and what was uploaded of it; it is found again by its digest, and completed,
when its client tries once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from launch_agent.server.store import tables
from launch_agent.server.store.files import FileRow
from launch_agent.server.store.ids import new_id

_artifacts = tables.artifacts
_aliases = tables.artifact_aliases
_manifests = tables.artifact_manifests
_files = tables.artifact_files
MANIFEST_NAME = "wandb_manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRow:
    """A version of a collection. `version` is None while it is pending; `digest` is the client's own."""

    id: str
    entity: str
    project: str
    type: str
    collection: str
    version: int | None
    state: str
    digest: str
    algorithm: str
    description: str
    metadata: str
    client_id: str
    created_at: float
    updated_at: float


def create(connection: Connection, row: ArtifactRow) -> None:
    values = {name: getattr(row, name) for name in ArtifactRow.__slots__}
    connection.execute(sa.insert(_artifacts).values(**values))


def find(connection: Connection, artifact_id: str) -> ArtifactRow | None:
    return _one(connection, sa.select(_artifacts).where(_artifacts.c.id == artifact_id))


def find_by_client_id(connection: Connection, client_id: str) -> ArtifactRow | None:
    return _one(connection, sa.select(_artifacts).where(_artifacts.c.client_id == client_id))


def find_by_digest(
    connection: Connection, entity: str, project: str, collection: str, digest: str
) -> ArtifactRow | None:
    """A version of the same content, one that is committed first."""
    query = _in(entity, project, collection).where(
        _artifacts.c.digest == digest, _artifacts.c.state != "DELETED"
    )
    return _one(connection, query.order_by(_artifacts.c.state, _artifacts.c.created_at).limit(1))


def find_by_alias(
    connection: Connection, entity: str, project: str, collection: str, alias: str
) -> ArtifactRow | None:
    """A committed version, by an alias or by its number (`v3`)."""
    query = _in(entity, project, collection).where(_artifacts.c.state == "COMMITTED")
    named = query.join(
        _aliases,
        sa.and_(_aliases.c.artifact_id == _artifacts.c.id, _aliases.c.alias == alias),
    )
    found = _one(connection, named.limit(1))
    if found is None and alias[:1] == "v" and alias[1:].isdecimal() and len(alias) < 10:
        found = _one(connection, query.where(_artifacts.c.version == int(alias[1:])))
    return found


def latest(connection: Connection, entity: str, project: str, collection: str) -> ArtifactRow | None:
    query = _in(entity, project, collection).where(_artifacts.c.state == "COMMITTED")
    return _one(connection, query.order_by(_artifacts.c.version.desc()).limit(1))


def versions(connection: Connection, entity: str, project: str, collection: str) -> list[ArtifactRow]:
    """Committed versions, newest first."""
    query = _in(entity, project, collection).where(_artifacts.c.state == "COMMITTED")
    return [_row(row) for row in connection.execute(query.order_by(_artifacts.c.version.desc()))]


def collections(connection: Connection, entity: str, project: str, kind: str | None) -> list[tuple[str, str]]:
    """Type and name of each collection that has a committed version."""
    query = (
        sa.select(_artifacts.c.type, _artifacts.c.collection)
        .where(
            _artifacts.c.entity == entity, _artifacts.c.project == project, _artifacts.c.state == "COMMITTED"
        )
        .distinct()
        .order_by(_artifacts.c.type, _artifacts.c.collection)
    )
    if kind is not None:
        query = query.where(_artifacts.c.type == kind)
    return [(row.type, row.collection) for row in connection.execute(query)]


def commit(connection: Connection, row: ArtifactRow, now: float) -> None:
    """Give a pending version its number, and its aliases to it alone."""
    if row.state != "PENDING":
        return
    newest = latest(connection, row.entity, row.project, row.collection)
    number = 0 if newest is None or newest.version is None else newest.version + 1
    connection.execute(
        sa.update(_artifacts)
        .where(_artifacts.c.id == row.id)
        .values(state="COMMITTED", version=number, updated_at=now)
    )
    add_aliases(connection, row, ["latest", *aliases(connection, row.id)])


def update(connection: Connection, artifact_id: str, now: float, **columns: Any) -> None:
    connection.execute(
        sa.update(_artifacts).where(_artifacts.c.id == artifact_id).values(updated_at=now, **columns)
    )


def add_aliases(connection: Connection, row: ArtifactRow, names: Sequence[str]) -> None:
    """Move aliases to a version. While that is pending the others keep theirs; its commit takes them over."""
    siblings = _in(row.entity, row.project, row.collection).with_only_columns(_artifacts.c.id)
    owners = [row.id] if not _is_committed(connection, row.id) else list(connection.scalars(siblings))
    for name in dict.fromkeys(names):
        connection.execute(
            sa.delete(_aliases).where(_aliases.c.alias == name, _aliases.c.artifact_id.in_(owners))
        )
        connection.execute(sa.insert(_aliases).values(artifact_id=row.id, alias=name))


def remove_aliases(connection: Connection, artifact_id: str, names: Sequence[str]) -> None:
    connection.execute(
        sa.delete(_aliases).where(_aliases.c.artifact_id == artifact_id, _aliases.c.alias.in_(names))
    )


def aliases(connection: Connection, artifact_id: str) -> list[str]:
    query = (
        sa.select(_aliases.c.alias).where(_aliases.c.artifact_id == artifact_id).order_by(_aliases.c.alias)
    )
    return list(connection.scalars(query))


def add_manifest(connection: Connection, artifact_id: str, kind: str, now: float) -> str:
    manifest_id = new_id("amf")
    connection.execute(
        sa.insert(_manifests).values(id=manifest_id, artifact_id=artifact_id, kind=kind, created_at=now)
    )
    return manifest_id


def has_manifest(connection: Connection, manifest_id: str) -> bool:
    query = sa.select(_manifests.c.id).where(_manifests.c.id == manifest_id)
    return connection.scalar(query) is not None


def manifest(connection: Connection, artifact_id: str) -> str | None:
    """The newest whole manifest that has arrived."""
    query = (
        sa.select(_manifests.c.id)
        .join(_files, sa.and_(_files.c.owner_id == _manifests.c.id, _files.c.name == MANIFEST_NAME))
        .where(_manifests.c.artifact_id == artifact_id, _manifests.c.kind == "FULL")
        .order_by(_manifests.c.created_at.desc())
        .limit(1)
    )
    found: str | None = connection.scalar(query)
    return found


def owns_files(connection: Connection, owner_id: str) -> bool:
    """Whether there is an artifact or a manifest of this id."""
    return find(connection, owner_id) is not None or has_manifest(connection, owner_id)


def put_file(connection: Connection, file: FileRow) -> None:
    """Note an upload; `run_id` is an artifact's or a manifest's id."""
    mine = sa.and_(_files.c.owner_id == file.run_id, _files.c.name == file.name)
    connection.execute(sa.delete(_files).where(mine))
    connection.execute(
        sa.insert(_files).values(
            owner_id=file.run_id, name=file.name, size=file.size, md5=file.md5, updated_at=file.updated_at
        )
    )


def files(
    connection: Connection,
    owner_id: str,
    *,
    names: Sequence[str] | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> list[FileRow]:
    """By name; only those of `names` where names are given."""
    query = sa.select(_files).where(_files.c.owner_id == owner_id).order_by(_files.c.name)
    if names is not None:
        query = query.where(_files.c.name.in_(names))
    if after is not None:
        query = query.where(_files.c.name > after)
    if limit is not None:
        query = query.limit(limit)
    return [
        FileRow(run_id=row.owner_id, name=row.name, size=row.size, md5=row.md5, updated_at=row.updated_at)
        for row in connection.execute(query)
    ]


def totals(connection: Connection, artifact_id: str) -> tuple[int, int]:
    """Number and bytes of an artifact's files."""
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(_files.c.size), 0)).where(
        _files.c.owner_id == artifact_id
    )
    row = connection.execute(query).one()
    return int(row[0]), int(row[1])


def _is_committed(connection: Connection, artifact_id: str) -> bool:
    found = find(connection, artifact_id)
    return found is not None and found.state == "COMMITTED"


def _in(entity: str, project: str, collection: str) -> sa.Select[Any]:
    return sa.select(_artifacts).where(
        _artifacts.c.entity == entity,
        _artifacts.c.project == project,
        _artifacts.c.collection == collection,
    )


def _one(connection: Connection, query: sa.Select[Any]) -> ArtifactRow | None:
    row = connection.execute(query).one_or_none()
    return _row(row) if row is not None else None


def _row(row: sa.Row[Any]) -> ArtifactRow:
    return ArtifactRow(**row._mapping)
