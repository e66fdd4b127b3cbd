"""The list of uploaded files; their bytes lie in the data folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from launch_agent.server.store import tables

_files = tables.run_files


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """An uploaded file. `md5` is hexadecimal: clients compare it with what they downloaded."""

    run_id: str
    name: str
    size: int
    md5: str
    updated_at: float


def put(connection: Connection, file: FileRow) -> None:
    """Note an upload; an earlier one of the same name is replaced."""
    mine = sa.and_(_files.c.run_id == file.run_id, _files.c.name == file.name)
    connection.execute(sa.delete(_files).where(mine))
    connection.execute(
        sa.insert(_files).values(
            run_id=file.run_id, name=file.name, size=file.size, md5=file.md5, updated_at=file.updated_at
        )
    )


def find(connection: Connection, run_id: str, name: str) -> FileRow | None:
    query = sa.select(_files).where(_files.c.run_id == run_id, _files.c.name == name)
    row = connection.execute(query).one_or_none()
    return FileRow(**row._mapping) if row is not None else None


def list_files(connection: Connection, run_id: str, *, limit: int, after: str | None = None) -> list[FileRow]:
    """By name."""
    query = sa.select(_files).where(_files.c.run_id == run_id).order_by(_files.c.name).limit(limit)
    if after is not None:
        query = query.where(_files.c.name > after)
    return [FileRow(**_row(row)) for row in connection.execute(query)]


def count(connection: Connection, run_id: str) -> int:
    query = sa.select(sa.func.count()).where(_files.c.run_id == run_id)
    return int(connection.scalar(query) or 0)


def _row(row: sa.Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)
