"""API keys: only their digests are kept."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from launch_agent.server.store import tables
from launch_agent.server.store.ids import digest_of, new_id
from launch_agent.server.store.rows import Viewer

_keys = tables.api_keys


def viewer_of(connection: Connection, api_key: str) -> Viewer | None:
    """Whose key this is; None where it is nobody's."""
    query = sa.select(_keys).where(_keys.c.digest == digest_of(api_key))
    row = connection.execute(query).one_or_none()
    return Viewer(id=row.id, username=row.username, entity=row.entity) if row is not None else None


def add_key(connection: Connection, api_key: str, *, username: str, entity: str, now: float) -> None:
    """Accept a key from now on; one that is known keeps its user and gets the entity."""
    if viewer_of(connection, api_key) is not None:
        connection.execute(sa.update(_keys).where(_keys.c.digest == digest_of(api_key)).values(entity=entity))
        return
    connection.execute(
        sa.insert(_keys).values(
            id=new_id("usr"), digest=digest_of(api_key), username=username, entity=entity, created_at=now
        )
    )


def first_viewer(connection: Connection) -> Viewer | None:
    """The user of the oldest key; None in a new database."""
    row = connection.execute(sa.select(_keys).order_by(_keys.c.created_at).limit(1)).one_or_none()
    return Viewer(id=row.id, username=row.username, entity=row.entity) if row is not None else None
