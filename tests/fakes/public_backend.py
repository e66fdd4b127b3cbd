"""A queue backend as far as the public protocol goes, in memory: what an agent meets that is not our server.

It knows no features, no long poll and no ends but failures. `roots` limits how many root fields one request
may have, `aliases` off makes it lose all but the last of equal fields, `dialect="older"` takes fields away
that older servers lack. The schema is read by graphql-core, so documents are parsed for real.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import graphql

from tests.fakes.loopback import Loopback, Raw, Reply, Request

_SCHEMA = """
scalar JSONString
scalar JSON
type Query {
  viewer: User
  %(server_info)s
  project(name: String, entityName: String): Project
  launchAgent(id: ID!): LaunchAgent
}
type User { id: ID entity: String username: String }
type ServerInfo { features: [Feature] }
type Feature { name: String isEnabled: Boolean }
type Project { runQueues: [RunQueue] runQueue(name: String!): RunQueue run(name: String!): Run }
type RunQueue { id: ID name: String createdBy: String access: String runQueueItem(id: ID!): Item }
type Item { id: ID state: String associatedRunId: String %(item)s }
type Run { id: ID name: String stopped: Boolean state: String }
type LaunchAgent { id: ID name: String stopPolling: Boolean agentStatus: String }
type Ok { success: Boolean }
type Pushed { runQueueItemId: ID runSpec: JSONString }
type Popped { runQueueItemId: ID runSpec: JSON }
type Created { launchAgentId: ID }
type Bucket { bucket: Run inserted: Boolean }
type Files { runID: ID uploadHeaders: [String] files: [File] }
type File { name: String uploadUrl: String }
input PopIn { entityName: String! projectName: String! queueName: String! launchAgentId: ID }
input PushIn { entityName: String! projectName: String! queueName: String! runSpec: JSONString! priority: Int
}
input AckIn { runQueueItemId: ID! runName: String! }
input FailIn { runQueueItemId: ID! message: String! stage: String! filePaths: [String!] }
input AgentIn { entityName: String! projectName: String! runQueues: [ID!]! hostname: String! %(agent_in)s }
input UpdateIn { launchAgentId: ID! agentStatus: String }
input BucketIn { name: String modelName: String entityName: String jobType: String }
input FilesIn { entityName: String projectName: String! runName: String! files: [String!]! }
type Mutation {
  createLaunchAgent(input: AgentIn!): Created
  updateLaunchAgent(input: UpdateIn!): Ok
  popFromRunQueue(input: PopIn!): Popped
  pushToRunQueueByName(input: PushIn!): Pushed
  ackRunQueueItem(input: AckIn!): Ok
  failRunQueueItem(input: FailIn!): Ok
  %(warning)s
  upsertBucket(input: BucketIn!): Bucket
  createRunFiles(input: FilesIn!): Files
}
"""
_NEWER = {
    "server_info": "serverInfo: ServerInfo",
    "agent_in": "agentConfig: JSONString version: String",
    "warning": "updateRunQueueItemWarning(input: FailIn!): Ok",
    "item": "runSpec: JSONString priority: Int",
}
_OLDER = dict.fromkeys(_NEWER, "")


@dataclass(slots=True)
class Item:
    id: str
    queue: str
    spec: Any
    state: str = "PENDING"
    run: str | None = None
    priority: int | None = None
    error: dict[str, Any] | None = None
    warnings: list[dict[str, Any]] = field(default_factory=list)


class PublicBackend(Loopback):
    """`items`, `runs`, `agents` and `uploads` are for tests to read and to set."""

    def __init__(
        self,
        *queues: str,
        key: str = "local-" + "0" * 40,
        roots: int = 100,
        aliases: bool = True,
        dialect: str = "newer",
    ) -> None:
        self.key = key
        self.entity = "acme"
        self.features = ["SOMETHING_ELSE"]
        self.queues = list(queues)
        self.items: dict[str, Item] = {}
        self.runs: dict[tuple[str, str], dict[str, Any]] = {}
        self.agents: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, bytes] = {}
        self.streams: list[tuple[str, Any]] = []
        self.upload_status = 200
        self.broken_queues: set[str] = set()
        self.roots = roots
        self.aliases = aliases
        self.documents: list[str] = []
        self._numbers = itertools.count(1)
        self._guard = threading.RLock()
        self._schema = graphql.build_schema(_SCHEMA % (_NEWER if dialect == "newer" else _OLDER))
        super().__init__(self._answer)

    def push(self, queue: str, spec: Any) -> str:
        item = Item(id=f"item-{next(self._numbers)}", queue=queue, spec=spec)
        self.items[item.id] = item
        return item.id

    def release_leases(self) -> None:
        """What a minute does to leases without an ack."""
        for item in self.items.values():
            if item.state == "LEASED":
                item.state = "PENDING"

    # --- HTTP ----------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Reply | Raw:
        token = base64.b64encode(f"api:{self.key}".encode()).decode()
        if request.path.startswith("/upload/"):
            self.uploads[unquote(request.path.removeprefix("/upload/"))] = request.body
            return Reply(status=self.upload_status)
        if request.headers.get("authorization") != f"Basic {token}":
            return Reply.of({"errors": [{"message": "user is not logged in"}]}, status=401)
        if request.path.startswith("/files/"):
            self.streams.append((request.path, request.json()))
            return Reply.of({"exitcode": None, "limits": {}})
        return self._graphql(request.json())

    def _graphql(self, body: dict[str, Any]) -> Reply:
        self.documents.append(body["query"])
        document = graphql.parse(body["query"])
        problems = graphql.validate(self._schema, document)
        if problems:
            return Reply.of({"errors": [{"message": problem.message} for problem in problems]}, status=400)
        fields = document.definitions[0].selection_set.selections
        if len(fields) > self.roots:
            return Reply.of({"errors": [{"message": "query is too complex"}]}, status=400)
        if not self.aliases and len(fields) > 1:
            return Reply.of({"data": {fields[-1].name.value: None}})
        with self._guard:
            result = graphql.graphql_sync(
                self._schema,
                body["query"],
                root_value=self,
                variable_values=body["variables"],
                field_resolver=_resolve,
            )
        payload: dict[str, Any] = {"data": result.data}
        if result.errors:
            payload["errors"] = [{"message": e.message, "path": e.path} for e in result.errors]
        return Reply.of(payload)

    # --- the protocol --------------------------------------------------------------------------------------

    def viewer(self) -> Any:
        return {"id": "u1", "entity": self.entity, "username": "someone"}

    def serverInfo(self) -> Any:  # noqa: N802 - the protocol's name
        return {"features": [{"name": name, "isEnabled": True} for name in self.features]}

    def project(self, name: str | None = None, entityName: str | None = None) -> Any:  # noqa: N803 - as above
        return {
            "runQueues": [{"id": f"id-{queue}", "name": queue} for queue in self.queues],
            "runQueue": lambda name: {"runQueueItem": lambda id: self._item(id)},  # noqa: A006, PLW0108
            "run": lambda name, project=name: self.runs.get((project, name)),
        }

    def _item(self, item_id: str) -> Any:
        item = self.items.get(item_id)
        return item and {
            "id": item.id,
            "state": item.state,
            "associatedRunId": item.run,
            "runSpec": json.dumps(item.spec),
            "priority": item.priority,
        }

    def launchAgent(self, id: str) -> Any:  # noqa: N802, A002
        return self.agents.get(id)

    def createLaunchAgent(self, input: dict[str, Any]) -> Any:  # noqa: N802, A002
        agent_id = f"agent-{next(self._numbers)}"
        self.agents[agent_id] = {"id": agent_id, "stopPolling": False, **input}
        return {"launchAgentId": agent_id}

    def updateLaunchAgent(self, input: dict[str, Any]) -> Any:  # noqa: N802, A002
        agent = self.agents.get(input["launchAgentId"])
        if agent is not None:
            agent["agentStatus"] = input["agentStatus"]
        return {"success": agent is not None}

    def popFromRunQueue(self, input: dict[str, Any]) -> Any:  # noqa: N802, A002
        if input["queueName"] in self.broken_queues:
            raise graphql.GraphQLError(f"queue {input['queueName']} was not found")
        for item in self.items.values():
            if item.queue == input["queueName"] and item.state == "PENDING":
                item.state = "LEASED"
                return {"runQueueItemId": item.id, "runSpec": item.spec}
        return None

    def pushToRunQueueByName(self, input: dict[str, Any]) -> Any:  # noqa: N802, A002
        item_id = self.push(input["queueName"], json.loads(input["runSpec"]))
        self.items[item_id].priority = input.get("priority")
        return {"runQueueItemId": item_id, "runSpec": input["runSpec"]}

    def ackRunQueueItem(self, input: dict[str, Any]) -> Any:  # noqa: N802, A002
        item = self.items.get(input["runQueueItemId"])
        if item is None or item.state != "LEASED":
            return {"success": False}
        item.state, item.run = "CLAIMED", input["runName"]
        return {"success": True}

    def failRunQueueItem(self, input: dict[str, Any]) -> Any:  # noqa: N802, A002
        item = self.items[input["runQueueItemId"]]
        item.state, item.error = "FAILED", input
        return {"success": True}

    def updateRunQueueItemWarning(self, input: dict[str, Any]) -> Any:  # noqa: N802, A002
        self.items[input["runQueueItemId"]].warnings.append(input)
        return {"success": True}

    def upsertBucket(self, input: dict[str, Any]) -> Any:  # noqa: N802, A002
        return {"bucket": {"id": "b1", "name": input["name"]}, "inserted": True}

    def createRunFiles(self, input: dict[str, Any]) -> Any:  # noqa: N802, A002
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in input["files"]]
        return {"runID": "b1", "uploadHeaders": ["X-Kind:log"], "files": files}


def _resolve(source: Any, info: graphql.GraphQLResolveInfo, **args: Any) -> Any:
    value = source.get(info.field_name) if isinstance(source, dict) else getattr(source, info.field_name)
    return value(**args) if callable(value) else value


def spec_text(**keys: Any) -> str:
    """A run spec as the JSON text that some servers answer."""
    return json.dumps(keys)
