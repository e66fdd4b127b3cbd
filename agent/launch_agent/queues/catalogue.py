"""The queues of an entity, as their owner sees them: list, show, create, change, delete.

The public protocol writes a queue by `upsertRunQueue`, which cannot tell "new" from "changed"; `create` and
`update` look first, so that a typing error changes no queue of that name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch_agent.clients.http import Retry
from launch_agent.errors import ConfigError, QueueError
from launch_agent.queues.operations import PROJECT
from launch_agent.queues.registration import BRIEF, missing_queues, queues_of
from launch_agent.queues.session import Session

# Writes of queues are the same when they are sent twice.
_RETRY = Retry(attempts=6, budget=15.0)

_LIST = """query LaunchQueues($entityName: String!) { launchQueues(entityName: $entityName) {
  id name resource prioritizationMode counts { pending leased claimed finished failed stopped preempted }
  agents { name } } }"""
_SHOW = """query GetRunQueueMetadata($projectName: String!, $entityName: String!, $runQueue: String!) {
  project(name: $projectName, entityName: $entityName) { runQueue(name: $runQueue) {
    id access defaultResourceConfigID prioritizationMode externalLinks } } }"""
_CONFIG = """query GetDefaultResourceConfig($entityName: String!, $id: ID!) {
  entity(name: $entityName) { defaultResourceConfig(id: $id) {
    config resource templateVariables { name schema } } } }"""
_PROJECT = """mutation CreateProject($input: UpsertModelInput!) {
  upsertModel(input: $input) { project { id name } inserted } }"""
_UPSERT = """mutation UpsertRunQueue($entityName: String!, $projectName: String!, $queueName: String!,
    $resourceType: String!, $resourceConfig: JSONString!, $templateVariables: JSONString,
    $prioritizationMode: RunQueuePrioritizationMode) {
  upsertRunQueue(input: {entityName: $entityName, projectName: $projectName, queueName: $queueName,
    resourceType: $resourceType, resourceConfig: $resourceConfig, templateVariables: $templateVariables,
    prioritizationMode: $prioritizationMode}) { success configSchemaValidationErrors } }"""
_DELETE = """mutation DeleteRunQueues($queueIDs: [ID!]!) {
  deleteRunQueues(input: {queueIDs: $queueIDs}) { success } }"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSummary:
    """One line of a list. `resource`, `counts` (items by state) and `agents` are empty where the backend does
    not tell them."""

    name: str
    id: str
    resource: str = ""
    prioritized: bool | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    agents: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """What a queue is made of. `config` is the resource's own part; `template_variables` maps a name to its
    JSON Schema."""

    name: str
    resource: str
    config: Mapping[str, Any] = field(default_factory=dict)
    prioritized: bool = False
    template_variables: Mapping[str, Any] = field(default_factory=dict)


class Catalogue:
    """The queues of a session's entity. Every method may raise QueueError."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._graphql = session.graphql

    def summaries(self) -> list[QueueSummary]:
        """Every queue, by name."""
        if not self._session.lists_items:
            known = queues_of(self._graphql, self._session.entity)
            return [QueueSummary(name=name, id=known[name]) for name in sorted(known)]
        variables = {"entityName": self._session.entity}
        found = self._graphql.one("LaunchQueues", _LIST, variables, retry=BRIEF)["launchQueues"] or ()
        return sorted((_summary(queue) for queue in found), key=lambda queue: queue.name)

    def show(self, name: str) -> QueueSettings:
        """Raises QueueError where there is no such queue."""
        variables = {"projectName": PROJECT, "entityName": self._session.entity, "runQueue": name}
        project = self._graphql.one("GetRunQueueMetadata", _SHOW, variables, retry=BRIEF)["project"] or {}
        queue = project.get("runQueue")
        if queue is None:
            raise missing_queues(self._session.entity, [name], queues_of(self._graphql, self._session.entity))
        config = self._config(queue.get("defaultResourceConfigID"))
        resource = config.get("resource") or ""
        args = _object(config.get("config")).get("resource_args") or {}
        return QueueSettings(
            name=name,
            resource=resource,
            config=args.get(resource) or next(iter(args.values()), {}),
            prioritized=queue.get("prioritizationMode") == "V0",
            template_variables={
                variable["name"]: _object(variable["schema"])
                for variable in config.get("templateVariables") or ()
            },
        )

    def create(self, settings: QueueSettings) -> None:
        """Raises QueueError where a queue of that name exists."""
        known = queues_of(self._graphql, self._session.entity)
        if settings.name in known:
            raise QueueError(
                f"entity {self._session.entity!r} has a queue named {settings.name!r} already",
                hint="`launch-agent queue update` changes it",
            )
        if not known:  # the project that holds the queues may not be there yet
            given = {"name": PROJECT, "entityName": self._session.entity}
            self._graphql.one("CreateProject", _PROJECT, {"input": given}, retry=_RETRY)
        self._upsert(settings)

    def update(self, settings: QueueSettings) -> None:
        """Give an existing queue these settings."""
        self._id_of(settings.name)
        self._upsert(settings)

    def delete(self, name: str) -> None:
        """Delete the queue, with every item that waits in it."""
        variables = {"queueIDs": [self._id_of(name)]}
        answer = self._graphql.one("DeleteRunQueues", _DELETE, variables)["deleteRunQueues"] or {}
        if not answer.get("success"):
            raise QueueError(f"queue {name!r} was not deleted, and the backend gave no reason")

    def _id_of(self, name: str) -> str:
        known = queues_of(self._graphql, self._session.entity)
        if name not in known:
            raise missing_queues(self._session.entity, [name], known)
        return known[name]

    def _config(self, config_id: str | None) -> Mapping[str, Any]:
        if config_id is None:
            return {}
        variables = {"entityName": self._session.entity, "id": config_id}
        data = self._graphql.one("GetDefaultResourceConfig", _CONFIG, variables, retry=BRIEF)
        config = (data.get("entity") or {}).get("defaultResourceConfig") or {}
        assert isinstance(config, Mapping)
        return config

    def _upsert(self, settings: QueueSettings) -> None:
        variables = {
            "entityName": self._session.entity,
            "projectName": PROJECT,
            "queueName": settings.name,
            "resourceType": settings.resource,
            "resourceConfig": json.dumps({"resource_args": {settings.resource: settings.config}}),
            "templateVariables": json.dumps(
                {name: {"schema": schema} for name, schema in settings.template_variables.items()}
            ),
            "prioritizationMode": "V0" if settings.prioritized else "DISABLED",
        }
        answer = self._graphql.one("UpsertRunQueue", _UPSERT, variables, retry=_RETRY)["upsertRunQueue"] or {}
        problems = answer.get("configSchemaValidationErrors") or []
        if not answer.get("success"):
            reason = "; ".join(map(str, problems)) or "the backend gave no reason"
            raise ConfigError(f"the configuration of queue {settings.name!r} is not accepted: {reason}")


def _summary(queue: Mapping[str, Any]) -> QueueSummary:
    return QueueSummary(
        name=queue["name"],
        id=queue["id"],
        resource=queue.get("resource") or "",
        prioritized=queue.get("prioritizationMode") == "V0",
        counts=queue.get("counts") or {},
        agents=tuple(agent["name"] for agent in queue.get("agents") or ()),
    )


def _object(value: Any) -> dict[str, Any]:
    """A JSON object that may come as such or as its text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return dict(value) if isinstance(value, Mapping) else {}
