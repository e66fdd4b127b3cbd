"""How an agent introduces itself to a backend, and what it learns of that backend by doing so."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.clients.http import Retry
from launch_agent.errors import QueueDenied, QueueError
from launch_agent.queues import Registration, operations
from launch_agent.queues.faults import OlderServer
from launch_agent.queues.graphql import GraphQL

# What our own server offers beyond the public protocol (`serverInfo.features`).
OUTCOMES = "LAUNCH_ITEM_OUTCOMES"
LONG_POLL = "LAUNCH_LONG_POLL"
ITEM_LIST = "LAUNCH_ITEM_LIST"
REQUEUE = "LAUNCH_ITEM_REQUEUE"

# How long to wait for a backend that is down is the caller's decision.
BRIEF = Retry(attempts=3, budget=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backend that knows the agent as `agent_id`. `entity` owns the queues."""

    registration: Registration
    entity: str
    agent_id: str
    features: frozenset[str]


def introduce(graphql: GraphQL, registration: Registration, hostname: str = "") -> Backend:
    """Register the agent. Raises QueueDenied for a key that is not known, QueueError for missing queues."""
    entity = entity_of(viewer_of(graphql), registration.entity)
    queue_ids = _queue_ids(graphql, entity, registration.queues)
    features = features_of(graphql)
    agent_id = _create_agent(graphql, registration, entity, queue_ids, hostname, named=ITEM_LIST in features)
    return Backend(registration=registration, entity=entity, agent_id=agent_id, features=features)


def viewer_of(graphql: GraphQL) -> Mapping[str, Any]:
    """Whose API key it is: `entity` and `username`, as far as they are told. Raises QueueDenied."""
    viewer = graphql.one("Viewer", operations.VIEWER, {}, retry=BRIEF).get("viewer")
    if not isinstance(viewer, Mapping):
        raise QueueDenied(
            f"{graphql.base_url} does not know the API key",
            hint="give a key of this backend by WANDB_API_KEY, a key file or ~/.netrc",
        )
    return viewer


def entity_of(viewer: Mapping[str, Any], wanted: str) -> str:
    """The entity that is meant: the one wanted, or the API key's own."""
    entity = wanted or viewer.get("entity") or ""
    if not entity:
        raise QueueError("no entity is given, and the API key has no default one", hint="name an entity")
    return str(entity)


def features_of(graphql: GraphQL) -> frozenset[str]:
    """The names of the features that the server has; none where it does not know the question."""
    answer = graphql.execute("ServerFeaturesQuery", operations.FEATURES, {}, retry=BRIEF)
    info = answer.of("serverInfo") or {}
    return frozenset(entry["name"] for entry in info.get("features") or () if entry.get("isEnabled"))


def queues_of(graphql: GraphQL, entity: str) -> dict[str, str]:
    """Every queue of an entity: name -> id."""
    variables = {"entity": entity, "projectName": operations.PROJECT}
    project = graphql.one("ProjectRunQueues", operations.QUEUES, variables, retry=BRIEF).get("project")
    return {queue["name"]: queue["id"] for queue in (project or {}).get("runQueues") or ()}


def missing_queues(entity: str, missing: Iterable[str], known: Iterable[str]) -> QueueError:
    """The error that names every queue that is not there, and those that are."""
    return QueueError(
        f"entity {entity!r} has no queue named {' or '.join(map(repr, missing))};"
        f" it has: {', '.join(sorted(known)) or 'none'}",
        hint="create it in the web page or by `launch-agent queue create`, or correct the name",
    )


def _queue_ids(graphql: GraphQL, entity: str, wanted: Iterable[str]) -> list[str]:
    known = queues_of(graphql, entity)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise missing_queues(entity, missing, known)
    return [known[name] for name in wanted]


def _create_agent(
    graphql: GraphQL,
    registration: Registration,
    entity: str,
    queue_ids: list[str],
    hostname: str,
    *,
    named: bool,
) -> str:
    least: dict[str, Any] = {
        "entity": entity,
        "project": operations.PROJECT,
        "queues": queue_ids,
        "hostname": hostname or socket.gethostname(),
    }
    config = json.dumps(registration.config, default=str)
    variables = {**least, "agentConfig": config, "version": registration.version}
    if named:
        variables["name"] = registration.name
    try:
        created = graphql.one(
            "createLaunchAgent", operations.create_agent(named=named), variables, retry=BRIEF
        )
    except OlderServer:
        created = graphql.one("createLaunchAgent", operations.CREATE_AGENT_OLDER, least, retry=BRIEF)
    agent = created.get("createLaunchAgent") or {}
    if not agent.get("launchAgentId"):
        raise QueueError(f"{graphql.base_url} did not register the agent and gave no reason")
    return str(agent["launchAgentId"])
