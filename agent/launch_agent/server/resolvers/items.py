"""Queue items: pushed, popped, acked, ended."""

from __future__ import annotations

import json
from typing import Any

from ariadne import MutationType, ObjectType, QueryType

from launch_agent.errors import ConfigError, LeaseLost, QueueError
from launch_agent.queues.requeue import RESUME_COUNT, resume_count
from launch_agent.server import queueconfig
from launch_agent.server.resolvers.context import (
    Context,
    Info,
    Payload,
    agent_key,
    context_of,
    mutation,
    queue_key,
)
from launch_agent.server.store import agents as agent_store
from launch_agent.server.store import items as item_store
from launch_agent.server.store import queues as queue_store
from launch_agent.server.store import runs as run_store
from launch_agent.server.store.items import Claim
from launch_agent.server.store.rows import AgentRow, ItemRow, ItemState, NoteRow, QueueRow, RunRow

# The priority of an item that names none; what official clients take for the middle.
_DEFAULT_PRIORITY = 2
_LOWEST_PRIORITY = 100
_LONGEST_SPEC = 1024 * 1024
# Where a run goes whose spec names no project; the official clients' own word.
_NO_PROJECT = "uncategorized"

# Where official clients put the submitter's own API key, if it is to be used for the run.
_TRAVELLING_KEY = "_wandb_api_key"

# The state of a run whose end only its agent has seen.
_RUN_STATES = {
    ItemState.FINISHED: "finished",
    ItemState.FAILED: "failed",
    ItemState.STOPPED: "killed",
    ItemState.PREEMPTED: "preempted",
}

query = QueryType()
mutations = MutationType()
item = ObjectType("RunQueueItem")
error = ObjectType("RunQueueItemError")


@query.field("runQueueItem")
def resolve_item(_root: Any, info: Info, *, id: str) -> ItemRow | None:  # noqa: A002 - the protocol's name
    with context_of(info).unit.read() as connection:
        return item_store.find(connection, id)


@mutations.field("pushToRunQueueByName")
@mutation
def push_by_name(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        queue = _named_queue(connection, given)
        pushed = _push(context, connection, queue, given)
    return {"runQueueItemId": pushed.id, "runSpec": pushed.spec}


@mutations.field("pushToRunQueue")
@mutation
def push_by_id(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        queue = queue_store.find_queue_by_id(connection, given["queueID"])
        if queue is None:
            raise QueueError(f"there is no queue {given['queueID']!r}")
        pushed = _push(context, connection, queue, given)
    return {"runQueueItemId": pushed.id}


@mutations.field("popFromRunQueue")
@mutation
def pop(context: Context, given: Payload) -> Payload | None:
    agent_id = given.get("launchAgentId")
    with context.unit.read() as connection:
        queue = _named_queue(connection, given)
        agent = agent_store.find(connection, agent_id) if agent_id else None
        has_next = item_store.has_next(connection, queue.id, context.now)
    context.awaited.add(queue_key(queue.id))
    if agent is not None:
        context.awaited.add(agent_key(agent.id))
        if agent.stop_polling:
            context.is_over = True
            return None
    if not has_next:
        return None
    with context.unit.write() as connection:
        leased = item_store.pop(
            connection, queue, agent_id=agent_id, now=context.now, lease_seconds=context.lease_seconds
        )
    if leased is None:
        return None
    context.leased.append(leased.id)
    return {"runQueueItemId": leased.id, "runSpec": json.loads(leased.spec)}


@mutations.field("ackRunQueueItem")
@mutation
def ack(context: Context, given: Payload) -> Payload:
    with context.unit.read() as connection:
        found = item_store.find(connection, given["runQueueItemId"])
    if found is None:
        return {"success": False}
    try:
        with context.unit.write() as connection:
            _claim(context, connection, found, given)
    except LeaseLost:
        return {"success": False}
    return {"success": True}


@mutations.field("failRunQueueItem")
@mutation
def fail(context: Context, given: Payload) -> Payload:
    return {"success": _end(context, given, ItemState.FAILED)}


@mutations.field("finishRunQueueItem")
@mutation
def finish(context: Context, given: Payload) -> Payload:
    outcomes = {state.value.lower(): state for state in ItemState if state.is_terminal}
    outcome = outcomes.get(given["outcome"])
    if outcome is None:
        raise ConfigError(
            f"{given['outcome']!r} is not an outcome", path="outcome", hint=f"one of {', '.join(outcomes)}"
        )
    return {"success": _end(context, given, outcome)}


@mutations.field("requeueRunQueueItem")
@mutation
def requeue(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        found = item_store.find(connection, given["runQueueItemId"])
        if found is None:
            return {"success": False}
        if found.state is ItemState.PREEMPTED:
            successor = item_store.successor(connection, found)
            return {"success": successor is not None, "runQueueItemId": successor and successor.id}
        if found.state is not ItemState.CLAIMED or found.stop_requested:
            return {"success": False}
        spec = json.loads(found.spec)
        resumed = resume_count(spec) + 1
        if resumed > given["mostResumes"]:
            return {"success": True, "runQueueItemId": None}
        if not item_store.end(connection, found.id, ItemState.PREEMPTED, context.now):
            return {"success": False}
        successor = item_store.push_successor(
            connection,
            found,
            json.dumps({**spec, "run_id": found.run_name, RESUME_COUNT: resumed}),
            context.now,
        )
        if found.run_id is not None:
            run_store.settle(connection, found.run_id, _RUN_STATES[ItemState.PREEMPTED], context.now)
        item_store.note(
            connection,
            found.id,
            kind="warning",
            message=f"preempted; the job goes on as item {successor.id}",
            stage="run",
            files=(),
            now=context.now,
        )
    context.notify.add(queue_key(found.queue_id))
    return {"success": True, "runQueueItemId": successor.id}


@mutations.field("updateRunQueueItemWarning")
@mutation
def warn(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        found = item_store.find(connection, given["runQueueItemId"])
        if found is not None:
            _note(context, connection, given, kind="warning")
    return {"success": found is not None}


@mutations.field("stopRunQueueItem")
@mutation
def stop(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        found = item_store.request_stop(connection, given["runQueueItemId"], context.now)
        if found is not None and found.state is ItemState.CLAIMED and found.run_id is not None:
            run_store.stop(connection, found.run_id)
    return {"success": found is not None and found.stop_requested}


@mutations.field("deleteFromRunQueue")
@mutation
def delete(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        return {"success": item_store.delete(connection, given["queueID"], given["runQueueItemId"])}


def _named_queue(connection: Any, given: Payload) -> QueueRow:
    entity, name = given["entityName"], given["queueName"]
    queue = queue_store.find_queue(connection, entity, given["projectName"], name)
    if queue is None:
        raise QueueError(f"there is no queue {name!r} in the entity {entity!r}")
    return queue


def _push(context: Context, connection: Any, queue: QueueRow, given: Payload) -> ItemRow:
    spec = queueconfig.read_json_map(given["runSpec"], "runSpec")
    values = queueconfig.read_json_map(given.get("templateVariableValues"), "templateVariableValues")
    priority = given.get("priority")
    priority = _DEFAULT_PRIORITY if priority is None else priority
    if not 0 <= priority <= _LOWEST_PRIORITY:
        raise ConfigError(f"a priority is 0 to {_LOWEST_PRIORITY}, not {priority}", path="priority")
    config = queue_store.find_config(connection, queue.config_id)
    merged = queueconfig.merge_spec(config, spec, values)
    merged["entity"] = merged.get("entity") or queue.entity
    merged["project"] = merged.get("project") or _NO_PROJECT
    text = json.dumps(merged)
    if len(text) > _LONGEST_SPEC:
        raise ConfigError(
            f"the merged run spec is {len(text)} characters long, at most {_LONGEST_SPEC} are allowed",
            path="runSpec",
        )
    pushed = item_store.push(
        connection,
        queue,
        spec=text,
        priority=priority,
        author=str(merged.get("author") or context.viewer.username),
        mutation_id=given.get("clientMutationId"),
        now=context.now,
    )
    context.notify.add(queue_key(queue.id))
    return pushed


def _claim(context: Context, connection: Any, item: ItemRow, given: Payload) -> None:
    """Make the run that an item is claimed for (it can then be stopped before it reports itself), and claim.

    Raises LeaseLost, which undoes the making of the run."""
    spec = json.loads(item.spec)
    owner = (spec["entity"], spec["project"])
    queue_store.ensure_project(connection, *owner, context.now)
    run, _ = run_store.ensure(
        connection, *owner, given["runName"], user_id=context.viewer.id, now=context.now
    )
    claim = item_store.claim(
        connection,
        item.id,
        agent_id=given.get("launchAgentId"),
        run_id=run.id,
        run_name=given["runName"],
        now=context.now,
    )
    if claim is Claim.LOST:
        raise LeaseLost("the lease is over, or another run has the item")
    if claim is Claim.NEW:
        # A run may come again under its name, after a preemption or by its submitter's wish.
        run_store.update(connection, run, now=context.now, state="pending", stopped=False)


def _end(context: Context, given: Payload, outcome: ItemState) -> bool:
    with context.unit.write() as connection:
        before = item_store.find(connection, given["runQueueItemId"])
        is_ended = item_store.end(connection, given["runQueueItemId"], outcome, context.now)
        if before is None or not is_ended:
            return False
        if before.state is not outcome:
            if outcome is ItemState.FAILED or given.get("message"):
                kind = "error" if outcome is ItemState.FAILED else "warning"
                _note(context, connection, given, kind=kind)
            if before.run_id is not None:
                run_store.settle(connection, before.run_id, _RUN_STATES[outcome], context.now)
    return True


def _note(context: Context, connection: Any, given: Payload, *, kind: str) -> None:
    item_store.note(
        connection,
        given["runQueueItemId"],
        kind=kind,
        message=given.get("message") or "",
        stage=given.get("stage") or "",
        files=given.get("filePaths") or (),
        now=context.now,
    )


@item.field("state")
def resolve_state(row: ItemRow, _info: Info) -> str:
    official = (ItemState.PENDING, ItemState.LEASED, ItemState.FAILED)
    return row.state.value if row.state in official else ItemState.CLAIMED.value


@item.field("detailedState")
def resolve_detailed_state(row: ItemRow, _info: Info) -> str:
    return row.state.value


@item.field("associatedRunId")
def resolve_run_name(row: ItemRow, _info: Info) -> str | None:
    return row.run_name


@item.field("runSpec")
def resolve_spec(row: ItemRow, _info: Info) -> str:
    """The spec for those who look at it: only the agent, by its pop, gets a key that travels with a job."""
    if _TRAVELLING_KEY not in row.spec:
        return row.spec
    spec = json.loads(row.spec)
    return json.dumps({**spec, _TRAVELLING_KEY: "***"} if _TRAVELLING_KEY in spec else spec)


@item.field("createdAt")
@error.field("createdAt")
def resolve_created_at(row: ItemRow | NoteRow, _info: Info) -> float:
    return row.created_at


@item.field("leasedAt")
def resolve_leased_at(row: ItemRow, _info: Info) -> float | None:
    return row.leased_at


@item.field("claimedAt")
def resolve_claimed_at(row: ItemRow, _info: Info) -> float | None:
    return row.claimed_at


@item.field("endedAt")
def resolve_ended_at(row: ItemRow, _info: Info) -> float | None:
    return row.ended_at


@item.field("stopRequested")
def resolve_stop_requested(row: ItemRow, _info: Info) -> bool:
    return row.stop_requested


@item.field("queueName")
def resolve_queue_name(row: ItemRow, info: Info) -> str:
    return _queue_of(row, info).name


@item.field("entityName")
def resolve_entity_name(row: ItemRow, info: Info) -> str:
    return _queue_of(row, info).entity


@item.field("error")
def resolve_error(row: ItemRow, info: Info) -> NoteRow | None:
    with context_of(info).unit.read() as connection:
        found = item_store.notes(connection, row.id, "error")
    return found[-1] if found else None


@item.field("warnings")
def resolve_warnings(row: ItemRow, info: Info) -> list[NoteRow]:
    with context_of(info).unit.read() as connection:
        return item_store.notes(connection, row.id, "warning")


@item.field("agent")
def resolve_agent(row: ItemRow, info: Info) -> AgentRow | None:
    if row.agent_id is None:
        return None
    with context_of(info).unit.read() as connection:
        return agent_store.find(connection, row.agent_id)


@item.field("run")
def resolve_run(row: ItemRow, info: Info) -> RunRow | None:
    if row.run_id is None:
        return None
    with context_of(info).unit.read() as connection:
        return run_store.find_by_id(connection, row.run_id)


@error.field("filePaths")
def resolve_file_paths(row: NoteRow, _info: Info) -> list[str]:
    return list(row.files)


def _queue_of(row: ItemRow, info: Info) -> QueueRow:
    with context_of(info).unit.read() as connection:
        found = queue_store.find_queue_by_id(connection, row.queue_id)
    if found is None:
        raise QueueError("the queue was deleted")
    return found


BINDABLES = [query, mutations, item, error]
