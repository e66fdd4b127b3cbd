"""Files of runs and artifacts over HTTP, by signed URL, and the stream that a run reports through."""

from __future__ import annotations

import json
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from launch_agent.server.http import Problem, authenticate, body_of, chunks_of, state_of
from launch_agent.server.store import artifacts as artifact_store
from launch_agent.server.store import files as file_store
from launch_agent.server.store import items as item_store
from launch_agent.server.store import queues as queue_store
from launch_agent.server.store import runs as run_store
from launch_agent.server.store.rows import ItemState, Viewer

# File names of the stream, and what we call the lines that they carry.
_STREAMS = {"wandb-history.jsonl": "history", "wandb-events.jsonl": "events", "output.log": "output"}
_SUMMARY = "wandb-summary.json"


async def put_file(request: Request) -> Response:
    """PUT to a URL that createRunFiles, createArtifactFiles or one of the manifest's mutations gave."""
    state = state_of(request)
    run_id, name = await _checked(request, "PUT")
    is_run = await _require_owner(request, run_id)
    chunks = chunks_of(request, state.limits.upload)
    received = await state.files.receive(run_id, name, chunks)

    row = file_store.FileRow(
        run_id=run_id, name=name, size=received.size, md5=received.md5, updated_at=state.store.clock()
    )

    def note() -> None:
        with state.store.writing() as connection:
            (file_store.put if is_run else artifact_store.put_file)(connection, row)

    await anyio.to_thread.run_sync(note)
    return Response(status_code=200)


async def get_file(request: Request) -> Response:
    """GET a file of a run or an artifact, by signed URL or with an API key."""
    state = state_of(request)
    run_id, name = await _checked(request, "GET")

    def find() -> file_store.FileRow | None:
        with state.store.reading() as connection:
            found = file_store.find(connection, run_id, name)
            return found or next(iter(artifact_store.files(connection, run_id, names=[name])), None)

    if await anyio.to_thread.run_sync(find) is None:
        raise Problem(404, f"there is no file {name!r} in {run_id!r}")
    # As an attachment of no type: an uploaded page must not run in the browser of the one who looks at it.
    return FileResponse(
        state.files.path(run_id, name),
        media_type="application/octet-stream",
        filename=name.rpartition("/")[2],
        headers={"X-Content-Type-Options": "nosniff"},
    )


async def _require_owner(request: Request, owner: str) -> bool:
    """Before a byte is written: the owner's id becomes the name of a folder. Whether it is a run; it is an
    artifact or a manifest otherwise. Raises Problem 404."""
    store = state_of(request).store

    def find() -> tuple[bool, bool]:
        with store.reading() as connection:
            is_run = run_store.find_by_id(connection, owner) is not None
            return is_run, is_run or artifact_store.owns_files(connection, owner)

    is_run, is_there = await anyio.to_thread.run_sync(find)
    if not is_there:
        raise Problem(404, f"there is no run or artifact {owner!r}")
    return is_run


async def _checked(request: Request, method: str) -> tuple[str, str]:
    run_id, name = request.path_params["run_id"], request.path_params["name"]
    query = request.query_params
    signature, expires = query.get("signature", ""), query.get("expires", "")
    if not state_of(request).files.is_signed(method, run_id, name, expires, signature):
        if signature:
            raise Problem(403, "the URL is not valid, or no longer; ask for a new one")
        await authenticate(request)
    return run_id, name


async def file_stream(request: Request) -> Response:
    """POST what a run has logged since the last time, and at the end that it is complete."""
    viewer = await authenticate(request)
    body = await body_of(request, state_of(request).limits.stream)
    try:
        told = json.loads(body)
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise Problem(400, "the body must be a JSON object")
    stopped = await anyio.to_thread.run_sync(_store_stream, request, viewer, told)
    return JSONResponse({"exitcode": None, "limits": {}, "stopped": stopped})


def _store_stream(request: Request, viewer: Viewer, told: dict[str, Any]) -> bool:
    state, where = state_of(request), request.path_params
    now = state.store.clock()
    with state.store.writing() as connection:
        queue_store.ensure_project(connection, where["entity"], where["project"], now)
        run, _ = run_store.ensure(
            connection, where["entity"], where["project"], where["run"], user_id=viewer.id, now=now
        )
        columns: dict[str, Any] = {}
        files = told.get("files")
        for name, part in (files if isinstance(files, dict) else {}).items():
            offset, content = _lines(part)
            if name in _STREAMS:
                run_store.put_lines(connection, run.id, _STREAMS[name], offset, content)
            elif name == _SUMMARY and content:
                columns["summary"] = content[-1]
        if told.get("complete"):
            code = told.get("exitcode")
            columns["exit_code"] = code if isinstance(code, int) else None
            columns["state"] = "finished" if code == 0 else "failed"
            end = ItemState.FINISHED if code == 0 else ItemState.STOPPED if run.stopped else ItemState.FAILED
            item_store.end_with_run(connection, run.id, end, now)
        elif run.initialised:
            columns.update(state="running", exit_code=None)
        run_store.update(connection, run, now=now, **columns)
    return run.stopped


def _lines(part: Any) -> tuple[int, list[str]]:
    """Offset and lines of one file's part. Raises Problem 400 where it is something else."""
    if isinstance(part, dict):
        offset, content = part.get("offset", 0), part.get("content", [])
        if isinstance(offset, int) and offset >= 0 and isinstance(content, list):
            return offset, [str(line) for line in content]
    raise Problem(400, 'a file\'s part must be {"offset": number, "content": [lines]}')
