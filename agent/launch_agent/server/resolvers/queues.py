"""Projects, queues and their configurations."""

from __future__ import annotations

import json
from typing import Any

from ariadne import MutationType, ObjectType, QueryType
from graphql import GraphQLError

from launch_agent.errors import ConfigError
from launch_agent.server import queueconfig
from launch_agent.server.resolvers.context import (
    LAUNCH_PROJECT,
    Context,
    Info,
    Payload,
    context_of,
    mutation,
    page_size,
)
from launch_agent.server.resolvers.viewer import entity_value
from launch_agent.server.store import agents as agent_store
from launch_agent.server.store import items as item_store
from launch_agent.server.store import queues as queue_store
from launch_agent.server.store.ids import number_of
from launch_agent.server.store.rows import (
    AgentRow,
    ItemRow,
    ItemState,
    Prioritization,
    ProjectRow,
    QueueRow,
    ResourceConfigRow,
)

# Official clients allow 64; a name is shown in pages, labels and logs.
_LONGEST_NAME = 64

query = QueryType()
mutations = MutationType()
project = ObjectType("Project")
queue = ObjectType("RunQueue")
config = ObjectType("DefaultResourceConfig")


@query.field("project")
@query.field("model")
def resolve_project(_root: Any, info: Info, *, name: str | None = None, **given: Any) -> ProjectRow | None:
    context = context_of(info)
    with context.unit.read() as connection:
        return queue_store.find_project(
            connection, given.get("entityName") or context.viewer.entity, name or LAUNCH_PROJECT
        )


@query.field("launchQueues")
def resolve_all_queues(_root: Any, info: Info, **given: Any) -> list[QueueRow]:
    with context_of(info).unit.read() as connection:
        return queue_store.list_queues(connection, given.get("entityName"))


@project.field("entityName")
def resolve_project_entity_name(row: ProjectRow, _info: Info) -> str:
    return row.entity


@project.field("entity")
def resolve_project_entity(row: ProjectRow, _info: Info) -> Payload:
    return entity_value(row.entity)


@project.field("internalId")
def resolve_internal_id(row: ProjectRow, _info: Info) -> str:
    return str(number_of(row.entity, row.name))


@project.field("createdAt")
@queue.field("createdAt")
def resolve_created_at(row: ProjectRow | QueueRow, _info: Info) -> float:
    return row.created_at


@project.field("runQueues")
def resolve_queues(row: ProjectRow, info: Info) -> list[QueueRow]:
    with context_of(info).unit.read() as connection:
        return queue_store.list_queues(connection, row.entity, row.name)


@project.field("runQueue")
def resolve_queue(row: ProjectRow, info: Info, *, name: str) -> QueueRow | None:
    with context_of(info).unit.read() as connection:
        return queue_store.find_queue(connection, row.entity, row.name, name)


@queue.field("createdBy")
def resolve_created_by(row: QueueRow, _info: Info) -> str:
    return row.created_by


@queue.field("entityName")
def resolve_queue_entity(row: QueueRow, _info: Info) -> str:
    return row.entity


@queue.field("prioritizationMode")
def resolve_mode(row: QueueRow, _info: Info) -> str:
    return row.prioritization.value


@queue.field("externalLinks")
def resolve_links(row: QueueRow, _info: Info) -> str:
    return row.external_links


@queue.field("defaultResourceConfigID")
def resolve_config_id(row: QueueRow, _info: Info) -> str | None:
    return row.config_id


@queue.field("defaultResourceConfig")
def resolve_config(row: QueueRow, info: Info) -> ResourceConfigRow | None:
    with context_of(info).unit.read() as connection:
        return queue_store.find_config(connection, row.config_id)


@queue.field("resource")
def resolve_resource(row: QueueRow, info: Info) -> str | None:
    found = resolve_config(row, info)
    return found.resource if found is not None else None


@queue.field("counts")
def resolve_counts(row: QueueRow, info: Info) -> dict[str, int]:
    with context_of(info).unit.read() as connection:
        counts = item_store.counts(connection, row.id)
    return {state.value.lower(): counts.get(state.value, 0) for state in ItemState}


@queue.field("runQueueItem")
def resolve_item(row: QueueRow, info: Info, *, id: str) -> ItemRow | None:  # noqa: A002 - the protocol's name
    with context_of(info).unit.read() as connection:
        item = item_store.find(connection, id)
    return item if item is not None and item.queue_id == row.id else None


@queue.field("runQueueItems")
def resolve_items_by_age(
    row: QueueRow, info: Info, *, first: int | None = None, after: str | None = None
) -> Payload:
    return _page(row, context_of(info), first, after, newest_first=False)


@queue.field("items")
def resolve_items(
    row: QueueRow,
    info: Info,
    *,
    states: list[str] | None = None,
    first: int | None = None,
    after: str | None = None,
) -> Payload:
    wanted = [ItemState(state) for state in states or ()]
    return _page(row, context_of(info), first, after, newest_first=True, states=wanted)


@queue.field("agents")
def resolve_agents(row: QueueRow, info: Info) -> list[AgentRow]:
    context = context_of(info)
    with context.unit.read() as connection:
        found = agent_store.list_agents(connection, row.entity)
    return [agent for agent in found if row.id in agent.queue_ids and agent.is_alive(context.now)]


@config.field("config")
def resolve_config_text(row: ResourceConfigRow, _info: Info) -> str:
    return json.dumps(row.config)


@config.field("templateVariables")
def resolve_variables(row: ResourceConfigRow, _info: Info) -> list[Payload]:
    return [
        {"name": name, "description": declared["description"], "schema": json.dumps(declared["schema"])}
        for name, declared in row.variables.items()
    ]


@mutations.field("createRunQueue")
@mutation
def create_run_queue(context: Context, given: Payload) -> Payload:
    name = _checked_name(given["queueName"])
    with context.unit.write() as connection:
        where = (given["entityName"], given["projectName"])
        if queue_store.find_queue(connection, *where, name) is not None:
            raise ConfigError(
                f"the queue {where[0]}/{name} exists already", hint="change it with upsertRunQueue"
            )
        config_id = given.get("defaultResourceConfigID")
        if config_id is not None and queue_store.find_config(connection, config_id) is None:
            raise ConfigError(f"there is no resource configuration {config_id!r}")
        queue_id = queue_store.create_queue(
            connection,
            entity=where[0],
            project=where[1],
            name=name,
            access=given["access"],
            prioritization=Prioritization(given.get("prioritizationMode") or "DISABLED"),
            config_id=config_id,
            created_by=context.viewer.id,
            now=context.now,
        )
    return {"success": True, "queueID": queue_id}


@mutations.field("createDefaultResourceConfig")
@mutation
def create_default_resource_config(context: Context, given: Payload) -> Payload:
    read = queueconfig.read_config(given["config"], given["resource"])
    variables = queueconfig.read_variables(given.get("templateVariables"))
    with context.unit.write() as connection:
        config_id = queue_store.create_config(
            connection,
            entity=given["entityName"],
            resource=given["resource"],
            config=read,
            variables=variables,
            now=context.now,
        )
    return {"success": True, "defaultResourceConfigID": config_id}


@mutations.field("upsertRunQueue")
@mutation
def upsert_run_queue(context: Context, given: Payload) -> Payload:
    name = _checked_name(given["queueName"])
    try:
        read = queueconfig.read_config(given["resourceConfig"], given["resourceType"])
        variables = queueconfig.read_variables(given.get("templateVariables"))
    except ConfigError as error:
        return {"success": False, "configSchemaValidationErrors": [str(error)]}
    mode = given.get("prioritizationMode")
    entity, project_name = given["entityName"], given["projectName"]
    with context.unit.write() as connection:
        config_id = queue_store.create_config(
            connection,
            entity=entity,
            resource=given["resourceType"],
            config=read,
            variables=variables,
            now=context.now,
        )
        found = queue_store.find_queue(connection, entity, project_name, name)
        links = given.get("externalLinks")
        if found is not None:
            queue_store.update_queue(
                connection,
                found.id,
                prioritization=Prioritization(mode) if mode else None,
                config_id=config_id,
                external_links=links,
            )
            queue_id = found.id
        else:
            queue_id = queue_store.create_queue(
                connection,
                entity=entity,
                project=project_name,
                name=name,
                access="PROJECT",
                prioritization=Prioritization(mode or "DISABLED"),
                config_id=config_id,
                created_by=context.viewer.id,
                now=context.now,
                **({"external_links": links} if links else {}),
            )
    return {"success": True, "configSchemaValidationErrors": [], "queueID": queue_id}


@mutations.field("deleteRunQueues")
@mutation
def delete_run_queues(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        deleted = queue_store.delete_queues(connection, given["queueIDs"])
    return {"success": deleted == len(set(given["queueIDs"]))}


@mutations.field("upsertModel")
@mutation
def upsert_model(context: Context, given: Payload) -> Payload:
    name = given.get("name")
    if not name:
        raise GraphQLError("a project needs a name")
    with context.unit.write() as connection:
        row, inserted = queue_store.ensure_project(
            connection, given.get("entityName") or context.viewer.entity, name, context.now
        )
    return {"project": row, "model": row, "inserted": inserted}


def _checked_name(name: str) -> str:
    if not name.strip() or len(name) > _LONGEST_NAME or "/" in name or not name.isprintable():
        raise ConfigError(
            f"{name!r} cannot be the name of a queue",
            path="queueName",
            hint=f"1 to {_LONGEST_NAME} characters, without slashes",
        )
    return name


def _page(
    row: QueueRow,
    context: Context,
    first: int | None,
    after: str | None,
    *,
    newest_first: bool,
    states: list[ItemState] | None = None,
) -> Payload:
    size = page_size(first, 100)
    if after is not None and not after.isdecimal():
        raise GraphQLError(f"{after!r} is not a cursor of this list")
    with context.unit.read() as connection:
        found = item_store.list_items(
            connection,
            row.id,
            limit=size + 1,
            after=int(after) if after else None,
            newest_first=newest_first,
            states=states or (),
        )
    shown = found[:size]
    return {
        "edges": [{"node": item, "cursor": str(item.seq)} for item in shown],
        "pageInfo": {
            "endCursor": str(shown[-1].seq) if shown else None,
            "hasNextPage": len(found) > size,
        },
    }


BINDABLES = [query, mutations, project, queue, config]
