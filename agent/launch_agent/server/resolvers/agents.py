"""Agents: how they introduce themselves, say that they live, and are told to stop."""

from __future__ import annotations

from typing import Any

from ariadne import MutationType, ObjectType, QueryType

from launch_agent.errors import QueueError
from launch_agent.server.resolvers.context import Context, Info, Payload, agent_key, context_of, mutation
from launch_agent.server.store import agents as agent_store
from launch_agent.server.store import items as item_store
from launch_agent.server.store import queues as queue_store
from launch_agent.server.store.rows import AgentRow

query = QueryType()
mutations = MutationType()
agent = ObjectType("LaunchAgent")


@query.field("launchAgent")
def resolve_agent(_root: Any, info: Info, *, id: str) -> AgentRow | None:  # noqa: A002 - the protocol's name
    with context_of(info).unit.read() as connection:
        return agent_store.find(connection, id)


@query.field("launchAgents")
def resolve_agents(_root: Any, info: Info, **given: Any) -> list[AgentRow]:
    with context_of(info).unit.read() as connection:
        return agent_store.list_agents(connection, given.get("entityName"))


@mutations.field("createLaunchAgent")
@mutation
def create(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        for queue_id in given["runQueues"]:
            if queue_store.find_queue_by_id(connection, queue_id) is None:
                raise QueueError(f"there is no queue {queue_id!r}")
        agent_id = agent_store.create(
            connection,
            entity=given["entityName"],
            project=given["projectName"],
            name=given.get("name") or "",
            hostname=given["hostname"],
            version=given.get("version") or "",
            config=given.get("agentConfig") or "{}",
            queue_ids=given["runQueues"],
            now=context.now,
        )
    return {"launchAgentId": agent_id, "success": True}


@mutations.field("updateLaunchAgent")
@mutation
def update(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        is_known = agent_store.heartbeat(
            connection, given["launchAgentId"], given.get("agentStatus"), context.now
        )
    return {"success": is_known}


@mutations.field("stopLaunchAgent")
@mutation
def stop(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        is_known = agent_store.stop(connection, given["launchAgentId"])
    context.notify.add(agent_key(given["launchAgentId"]))
    return {"success": is_known}


@agent.field("runQueues")
def resolve_queue_ids(row: AgentRow, _info: Info) -> list[str]:
    return list(row.queue_ids)


@agent.field("agentStatus")
def resolve_status(row: AgentRow, _info: Info) -> str:
    return row.status


@agent.field("agentConfig")
def resolve_config(row: AgentRow, _info: Info) -> str:
    return row.config


@agent.field("stopPolling")
def resolve_stop_polling(row: AgentRow, _info: Info) -> bool:
    return row.stop_polling


@agent.field("heartbeatAt")
def resolve_heartbeat_at(row: AgentRow, _info: Info) -> float:
    return row.heartbeat_at


@agent.field("createdAt")
def resolve_created_at(row: AgentRow, _info: Info) -> float:
    return row.created_at


@agent.field("entityName")
def resolve_entity(row: AgentRow, _info: Info) -> str:
    return row.entity


@agent.field("isLost")
def resolve_is_lost(row: AgentRow, info: Info) -> bool:
    return row.status != "KILLED" and not row.is_alive(context_of(info).now)


@agent.field("claimedItems")
def resolve_claimed(row: AgentRow, info: Info) -> int:
    with context_of(info).unit.read() as connection:
        return item_store.count_claimed(connection, row.id)


BINDABLES = [query, mutations, agent]
