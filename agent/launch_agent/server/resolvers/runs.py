"""Runs, as a job's own client reports them and as people and agents ask for them."""

from __future__ import annotations

import json
import re
import secrets
import string
from datetime import datetime
from typing import Any

from ariadne import MutationType, ObjectType
from graphql import GraphQLError

from launch_agent.server.resolvers.context import (
    LAUNCH_PROJECT,
    Context,
    Info,
    Payload,
    context_of,
    mutation,
    page_size,
)
from launch_agent.server.store import queues as queue_store
from launch_agent.server.store import runs as run_store
from launch_agent.server.store.ids import number_of
from launch_agent.server.store.rows import ProjectRow, RunRow, Viewer

_ALPHABET = string.ascii_lowercase + string.digits

# Official clients put the moment, and the word ERROR for standard error, before each line that they send.
_LINE = re.compile(
    r"(?P<error>ERROR )?(?P<moment>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?) (?P<line>.*)", re.DOTALL
)

# What upsertBucket tells, by its own names, and is kept as it came.
_FIELDS = (
    "displayName",
    "description",
    "notes",
    "commit",
    "host",
    "groupName",
    "jobProgram",
    "jobRepo",
    "jobType",
    "sweep",
    "tags",
)

mutations = MutationType()
project = ObjectType("Project")
run = ObjectType("Run")


@project.field("run")
def resolve_run(row: ProjectRow, info: Info, *, name: str) -> RunRow | None:
    """Also a run that an agent has claimed an item for and that has not reported itself: agents ask whether
    they are to stop it."""
    with context_of(info).unit.read() as connection:
        return run_store.find(connection, row.entity, row.name, name)


@project.field("bucket")
def resolve_bucket(row: ProjectRow, info: Info, *, name: str, **given: Any) -> RunRow | None:
    """What a client asks before it resumes a run: one that never reported itself is not there to resume."""
    with context_of(info).unit.read() as connection:
        found = run_store.find(connection, row.entity, row.name, name)
    if found is not None and found.initialised:
        return found
    if given.get("missingOk"):
        return None
    raise GraphQLError(f"there is no run {name!r} in {row.entity}/{row.name}")


@project.field("runs")
def resolve_runs(
    row: ProjectRow, info: Info, *, first: int | None = None, after: str | None = None, **_: Any
) -> Payload:
    size = page_size(first, 50)
    with context_of(info).unit.read() as connection:
        found = run_store.list_runs(
            connection, row.entity, row.name, limit=size + 1, after=float(after) if after else None
        )
        total = run_store.count(connection, row.entity, row.name)
    shown = found[:size]
    return {
        "edges": [{"node": each, "cursor": repr(each.created_at)} for each in shown],
        "pageInfo": {
            "endCursor": repr(shown[-1].created_at) if shown else None,
            "hasNextPage": len(found) > size,
        },
        "totalCount": total,
    }


@project.field("runCount")
def resolve_run_count(row: ProjectRow, info: Info, **_: Any) -> int:
    with context_of(info).unit.read() as connection:
        return run_store.count(connection, row.entity, row.name)


@mutations.field("upsertBucket")
@mutation
def upsert_bucket(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        row = _addressed(context, connection, given)
        is_new = not row.initialised
        columns: Payload = {"initialised": True}
        # A client that ends a run tells its last words here, after it has told the end to the stream: what is
        # over stays over. A run that starts again says so by its stream, or was claimed again before.
        if given.get("state") is not None:
            columns["state"] = given["state"]
        elif is_new or row.state == "pending":
            columns["state"] = "running"
        if given.get("config") is not None:
            columns["config"] = given["config"]
        if given.get("summaryMetrics") is not None:
            columns["summary"] = given["summaryMetrics"]
        fields = {name: given[name] for name in _FIELDS if given.get(name) is not None}
        run_store.update(connection, row, now=context.now, fields=fields, **columns)
        after = run_store.find_by_id(connection, row.id)
    return {"bucket": after, "inserted": is_new}


@mutations.field("stopRun")
@mutation
def stop_run(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        return {"success": run_store.stop(connection, given["id"])}


def _addressed(context: Context, connection: Any, given: Payload) -> RunRow:
    """The run that is meant: by its id, or by its name, and then made where there is none."""
    entity = given.get("entityName") or context.viewer.entity
    if given.get("id"):
        found = run_store.find_by_id(connection, given["id"])
        if found is not None:
            return found
        if not given.get("name"):
            raise GraphQLError(f"there is no run with the id {given['id']!r}")
    project_name = given.get("modelName") or "uncategorized"
    queue_store.ensure_project(connection, entity, project_name, context.now)
    name = given.get("name") or "".join(secrets.choice(_ALPHABET) for _ in range(8))
    row, _ = run_store.ensure(
        connection, entity, project_name, name, user_id=context.viewer.id, now=context.now
    )
    return row


@run.field("state")
def resolve_state(row: RunRow, info: Info) -> str:
    return row.state_at(context_of(info).now)


@run.field("displayName")
def resolve_display_name(row: RunRow, _info: Info) -> str:
    return str(row.fields.get("displayName") or row.name)


def _told(name: str) -> Any:
    def resolve(row: RunRow, _info: Info) -> Any:
        return row.fields.get(name)

    return resolve


for _field, _key in {
    "description": "description",
    "notes": "notes",
    "commit": "commit",
    "host": "host",
    "jobType": "jobType",
    "group": "groupName",
    "sweepName": "sweep",
}.items():
    run.set_field(_field, _told(_key))


@run.field("tags")
def resolve_tags(row: RunRow, _info: Info) -> list[str]:
    return list(row.fields.get("tags") or ())


@run.field("summaryMetrics")
def resolve_summary(row: RunRow, _info: Info) -> str:
    return row.summary


@run.field("systemMetrics")
def resolve_system_metrics(_row: RunRow, _info: Info) -> str:
    return "{}"


@run.field("wandbConfig")
def resolve_wandb_config(row: RunRow, _info: Info, *, keys: list[str] | None = None) -> str:
    config = _json_map(row.config).get("_wandb", {})
    own = config.get("value", config) if isinstance(config, dict) else {}
    return json.dumps({key: own[key] for key in (keys or own) if key in own})


@run.field("user")
def resolve_user(row: RunRow, info: Info) -> Viewer:
    viewer = context_of(info).viewer
    return viewer if viewer.id == row.user_id else Viewer(id=row.user_id, username="", entity=row.entity)


@run.field("readOnly")
def resolve_read_only(_row: RunRow, _info: Info) -> bool:
    return False


@run.field("createdAt")
def resolve_created_at(row: RunRow, _info: Info) -> float:
    return row.created_at


@run.field("heartbeatAt")
def resolve_heartbeat_at(row: RunRow, _info: Info) -> float:
    return row.heartbeat_at


@run.field("exitCode")
def resolve_exit_code(row: RunRow, _info: Info) -> int | None:
    return row.exit_code


@run.field("projectId")
def resolve_project_id(row: RunRow, _info: Info) -> int:
    return number_of(row.entity, row.project)


@run.field("project")
def resolve_project(row: RunRow, info: Info) -> ProjectRow | None:
    with context_of(info).unit.read() as connection:
        return queue_store.find_project(connection, row.entity, row.project or LAUNCH_PROJECT)


def _counted(stream: str) -> Any:
    def resolve(row: RunRow, info: Info) -> int:
        with context_of(info).unit.read() as connection:
            return run_store.count_lines(connection, row.id, stream)

    return resolve


run.set_field("historyLineCount", _counted("history"))
run.set_field("eventsLineCount", _counted("events"))
run.set_field("logLineCount", _counted("output"))


@run.field("history")
def resolve_history(
    row: RunRow,
    info: Info,
    *,
    samples: int | None = None,
    **given: Any,
) -> list[str]:
    first, end = given.get("minStep"), given.get("maxStep")
    with context_of(info).unit.read() as connection:
        found = run_store.lines(
            connection,
            row.id,
            "history",
            limit=page_size(samples, 500, 10_000),
            after=first - 1 if first is not None else None,
        )
    return [line for number, line in found if end is None or number < end]


@run.field("events")
def resolve_events(row: RunRow, info: Info, *, samples: int | None = None) -> list[str]:
    with context_of(info).unit.read() as connection:
        found = run_store.lines(connection, row.id, "events", limit=page_size(samples, 500, 10_000))
    return [line for _, line in found]


@run.field("sampledHistory")
def resolve_sampled_history(row: RunRow, info: Info, *, specs: list[str]) -> list[Any]:
    with context_of(info).unit.read() as connection:
        found = run_store.lines(connection, row.id, "history", limit=10_000)
    entries = [_json_map(line) for _, line in found]
    sampled = []
    for spec in specs:
        keys = _json_map(spec).get("keys") or []
        sampled.append([entry for entry in entries if all(key in entry for key in keys)])
    return sampled


@run.field("historyKeys")
def resolve_history_keys(row: RunRow, info: Info) -> Payload:
    """Which metrics there are; clients read the history only where its last step is told."""
    with context_of(info).unit.read() as connection:
        last = run_store.count_lines(connection, row.id, "history") - 1
        tail = run_store.lines(connection, row.id, "history", limit=1, newest=True)
    keys: Payload = {key: {"typeCounts": []} for _, line in tail for key in _json_map(line)}
    return {"lastStep": last, "sets": [], "keys": keys}


def _tail(stream: str) -> Any:
    def resolve(row: RunRow, info: Info) -> str:
        with context_of(info).unit.read() as connection:
            found = run_store.lines(connection, row.id, stream, limit=1, newest=True)
        return json.dumps([line for _, line in found])

    return resolve


run.set_field("historyTail", _tail("history"))
run.set_field("eventsTail", _tail("events"))


@run.field("logLines")
def resolve_log_lines(
    row: RunRow,
    info: Info,
    *,
    first: int | None = None,
    last: int | None = None,
    after: str | None = None,
    **_: Any,
) -> Payload:
    size = page_size(last if last is not None else first, 1000, 10_000)
    with context_of(info).unit.read() as connection:
        found = run_store.lines(
            connection,
            row.id,
            "output",
            limit=size + 1,
            after=int(after) if after and after.isdecimal() else None,
            newest=last is not None,
        )
    shown = found[-size:] if last is not None else found[:size]
    return {
        "edges": [{"node": _log_line(number, line), "cursor": str(number)} for number, line in shown],
        "pageInfo": {
            "endCursor": str(shown[-1][0]) if shown else None,
            "hasNextPage": last is None and len(found) > size,
        },
    }


def _log_line(number: int, text: str) -> Payload:
    found = _LINE.fullmatch(text)
    if found is None:
        return {"number": number, "line": text, "level": None, "timestamp": None}
    moment = datetime.fromisoformat(found["moment"] + "+00:00").timestamp()
    level = "error" if found["error"] else "info"
    return {"number": number, "line": found["line"], "level": level, "timestamp": moment}


def _json_map(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


BINDABLES = [mutations, project, run]
