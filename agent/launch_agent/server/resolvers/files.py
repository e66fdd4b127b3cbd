"""Files of runs: where to put them, and where they are."""

from __future__ import annotations

import mimetypes
from typing import Any

from ariadne import MutationType, ObjectType

from launch_agent.server.filestore import checked_name
from launch_agent.server.resolvers.context import Context, Info, Payload, context_of, mutation, page_size
from launch_agent.server.store import files as file_store
from launch_agent.server.store import queues as queue_store
from launch_agent.server.store import runs as run_store
from launch_agent.server.store.files import FileRow
from launch_agent.server.store.rows import RunRow

mutations = MutationType()
run = ObjectType("Run")
file = ObjectType("File")


@mutations.field("createRunFiles")
@mutation
def create_run_files(context: Context, given: Payload) -> Payload:
    names = [checked_name(name) for name in given["files"]]
    with context.unit.write() as connection:
        entity = given.get("entityName") or context.viewer.entity
        queue_store.ensure_project(connection, entity, given["projectName"], context.now)
        row, _ = run_store.ensure(
            connection,
            entity,
            given["projectName"],
            given["runName"],
            user_id=context.viewer.id,
            now=context.now,
        )
    files = [
        {"name": name, "uploadUrl": context.base_url + context.sign("PUT", row.id, name)} for name in names
    ]
    return {"runID": row.id, "uploadHeaders": [], "files": files}


@mutations.field("markRunFilesUploaded")
@mutation
def mark_run_files_uploaded(_context: Context, _given: Payload) -> Payload:
    # Nothing to do: the server took the bytes itself, and knows.
    return {"success": True}


@run.field("files")
def resolve_files(
    row: RunRow,
    info: Info,
    *,
    first: int | None = None,
    after: str | None = None,
    names: list[str] | None = None,
    **_: Any,
) -> Payload:
    size = page_size(first, 1000)
    with context_of(info).unit.read() as connection:
        if names:
            wanted = [file_store.find(connection, row.id, name) for name in names]
            found = [each for each in wanted if each is not None]
        else:
            found = file_store.list_files(connection, row.id, limit=size + 1, after=after)
    shown = found[:size]
    return {
        "edges": [{"node": each, "cursor": each.name} for each in shown],
        "pageInfo": {"endCursor": shown[-1].name if shown else None, "hasNextPage": len(found) > size},
    }


@run.field("file")
def resolve_file(row: RunRow, info: Info, *, name: str) -> FileRow | None:
    with context_of(info).unit.read() as connection:
        return file_store.find(connection, row.id, name)


@run.field("fileCount")
def resolve_file_count(row: RunRow, info: Info) -> int:
    with context_of(info).unit.read() as connection:
        return file_store.count(connection, row.id)


@file.field("id")
def resolve_file_id(row: FileRow, _info: Info) -> str:
    return f"{row.run_id}/{row.name}"


@file.field("url")
@file.field("directUrl")
def resolve_url(row: FileRow, info: Info, *, upload: bool = False) -> str:
    context = context_of(info)
    return context.base_url + context.sign("PUT" if upload else "GET", row.run_id, row.name)


@file.field("sizeBytes")
def resolve_size(row: FileRow, _info: Info) -> int:
    return row.size


@file.field("mimetype")
def resolve_mimetype(row: FileRow, _info: Info) -> str:
    return mimetypes.guess_type(row.name)[0] or "application/octet-stream"


@file.field("updatedAt")
def resolve_updated_at(row: FileRow, _info: Info) -> float:
    return row.updated_at


BINDABLES = [mutations, run, file]
