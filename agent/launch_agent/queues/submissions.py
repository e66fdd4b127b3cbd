"""Items from the submitter's side: push one, see where it is, stop it.

Our server tells an item's whole story (feature LAUNCH_ITEM_LIST). The public protocol tells four states and
the id of the run; where work has begun, the run's own state is asked for on top.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from launch_agent.clients.http import ONCE, Retry
from launch_agent.errors import QueueError
from launch_agent.queues.faults import OlderServer
from launch_agent.queues.operations import PROJECT
from launch_agent.queues.registration import BRIEF, missing_queues, queues_of
from launch_agent.queues.session import Session

_RETRY = Retry(attempts=8, budget=20.0)
_ENDS = frozenset({"FINISHED", "FAILED", "STOPPED", "PREEMPTED"})
# The run states of the public protocol that are ends, and the item state that each amounts to.
_RUN_ENDS = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "crashed": "FAILED",
    "killed": "STOPPED",
    "preempted": "PREEMPTED",
}

_PUSH = """mutation pushToRunQueueByName($entityName: String!, $projectName: String!, $queueName: String!,
    $runSpec: JSONString!%(declared)s) {
  pushToRunQueueByName(input: {entityName: $entityName, projectName: $projectName, queueName: $queueName,
    runSpec: $runSpec%(used)s}) { runQueueItemId runSpec } }"""
_OPTIONAL = {
    "priority": "Int",
    "templateVariableValues": "JSONString",
    "clientMutationId": "String",
}
_OURS = """id detailedState queueName entityName associatedRunId runSpec priority author createdAt leasedAt
  claimedAt endedAt stopRequested error { message stage filePaths } warnings { message stage }
  agent { name } run { state }"""
_ITEM = f"query LaunchItem($id: ID!) {{ runQueueItem(id: $id) {{ {_OURS} }} }}"
_ITEMS = f"""query LaunchItems(
    $entityName: String!, $projectName: String!, $runQueue: String!, $first: Int) {{
  project(name: $projectName, entityName: $entityName) {{ runQueue(name: $runQueue) {{
    items(first: $first) {{ edges {{ node {{ {_OURS} }} }} }} }} }} }}"""
_PUBLIC_ITEM = """query GetRunQueueItem($projectName: String!, $entityName: String!, $runQueue: String!,
    $itemId: ID!) {
  project(name: $projectName, entityName: $entityName) { runQueue(name: $runQueue) {
    runQueueItem(id: $itemId) { id state associatedRunId %s } } } }"""
# Fields that the public backend may know; tried in this order until it does.
_PUBLIC_EXTRAS = ("runSpec error { message filePaths }", "runSpec", "")
_PUBLIC_ITEMS = """query GetRunQueueItems($projectName: String!, $entityName: String!, $runQueue: String!) {
  project(name: $projectName, entityName: $entityName) { runQueue(name: $runQueue) {
    runQueueItems(first: 100) { edges { node { id } } } } } }"""
_STOP_ITEM = """mutation StopRunQueueItem($id: ID!) {
  stopRunQueueItem(input: {runQueueItemId: $id}) { success } }"""
_DELETE_ITEM = """mutation DeleteFromRunQueue($queueID: ID!, $runQueueItemId: ID!) {
  deleteFromRunQueue(input: {queueID: $queueID, runQueueItemId: $runQueueItemId}) { success } }"""
_RUN = """query RunInfo($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { id state } } }"""
_STOP_RUN = "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is known of an item. `state` is PENDING, LEASED, CLAIMED or an end; `run_state` the run's own
    word. Times are texts as the backend gives them (UTC); empty means not yet, or not told."""

    id: str
    queue: str
    entity: str
    state: str
    run_id: str = ""
    run_entity: str = ""
    project: str = ""
    run_state: str = ""
    priority: int | None = None
    author: str = ""
    agent: str = ""
    created_at: str = ""
    leased_at: str = ""
    claimed_at: str = ""
    ended_at: str = ""
    stop_requested: bool = False
    error: str = ""
    error_files: Sequence[str] = ()
    warnings: Sequence[str] = ()

    @property
    def has_ended(self) -> bool:
        return self.state in _ENDS

    @property
    def ended_well(self) -> bool:
        return self.state == "FINISHED"


class Submissions:
    """The items of a session's entity. Every method may raise QueueError."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._graphql = session.graphql
        self._extras = 0

    def push(
        self,
        queue: str,
        spec: Mapping[str, Any],
        *,
        priority: int | None = None,
        template_values: Mapping[str, Any] | None = None,
    ) -> str:
        """Push a job; the item's id. Sent again until it is answered, under one mutation id, so that a push
        whose answer was lost makes one item; a server that knows no such ids gets it once."""
        given: dict[str, Any] = {"clientMutationId": uuid.uuid4().hex} if self._session.lists_items else {}
        if priority is not None:
            given["priority"] = priority
        if template_values:
            given["templateVariableValues"] = json.dumps(template_values)
        variables = {**self._place(queue), "runSpec": json.dumps(spec), **given}
        variables["queueName"] = variables.pop("runQueue")
        document = _PUSH % {
            "declared": "".join(f", ${name}: {_OPTIONAL[name]}" for name in given),
            "used": "".join(f", {name}: ${name}" for name in given),
        }
        retry = _RETRY if self._session.lists_items else Retry(attempts=3, budget=5.0, unsent_only=True)
        data = self._graphql.one("pushToRunQueueByName", document, variables, retry=retry)
        pushed = data.get("pushToRunQueueByName") or {}
        if not pushed.get("runQueueItemId"):
            raise self._missing(queue)
        return str(pushed["runQueueItemId"])

    def recent(self, queue: str, most: int = 100) -> list[Submission]:
        """The items of a queue, newest first where the server orders them."""
        if self._session.lists_items:
            variables = {**self._place(queue), "first": most}
            found = self._queue_data("LaunchItems", _ITEMS, variables, queue)
            return [_ours(edge["node"]) for edge in found["items"]["edges"]]
        found = self._queue_data("GetRunQueueItems", _PUBLIC_ITEMS, self._place(queue), queue)
        ids = [edge["node"]["id"] for edge in found["runQueueItems"]["edges"]][:most]
        items = (self._public(queue, item_id) for item_id in ids)
        return [item for item in items if item is not None]

    def find(self, item_id: str, queue: str = "") -> Submission:
        """One item; where the protocol must know its queue and none is given, every queue is looked into.

        Raises QueueError where it is in none."""
        if self._session.lists_items:
            node = self._graphql.one("LaunchItem", _ITEM, {"id": item_id}, retry=BRIEF)["runQueueItem"]
            if node is not None:
                return _ours(node)
        else:
            names = [queue] if queue else sorted(queues_of(self._graphql, self._session.entity))
            for name in names:
                item = self._public(name, item_id)
                if item is not None:
                    return item
        raise QueueError(
            f"there is no queue item {item_id!r}" + (f" in queue {queue!r}" if queue else ""),
            hint="`launch-agent status QUEUE` lists a queue's items",
        )

    def stop(self, item: Submission) -> None:
        """Take a waiting item off its queue, or ask the run of a started one to stop."""
        if self._session.lists_items:
            data = self._graphql.one("StopRunQueueItem", _STOP_ITEM, {"id": item.id}, retry=_RETRY)
            done = (data.get("stopRunQueueItem") or {}).get("success")
        elif item.state == "PENDING":
            queue_id = queues_of(self._graphql, self._session.entity)[item.queue]
            variables = {"queueID": queue_id, "runQueueItemId": item.id}
            data = self._graphql.one("DeleteFromRunQueue", _DELETE_ITEM, variables, retry=ONCE)
            done = (data.get("deleteFromRunQueue") or {}).get("success")
        else:
            run = self._run(item)
            if not run.get("id"):
                raise QueueError(
                    f"the run of item {item.id} cannot be stopped yet: it has not reported itself",
                    hint="try again when it has begun",
                )
            data = self._graphql.one("StopRun", _STOP_RUN, {"id": run["id"]}, retry=_RETRY)
            done = (data.get("stopRun") or {}).get("success")
        if not done:
            raise QueueError(f"item {item.id} was not stopped: it is {item.state} already")

    def _place(self, queue: str) -> dict[str, Any]:
        return {"entityName": self._session.entity, "projectName": PROJECT, "runQueue": queue}

    def _queue_data(
        self, operation: str, document: str, variables: Mapping[str, Any], queue: str
    ) -> Mapping[str, Any]:
        project = self._graphql.one(operation, document, variables, retry=BRIEF).get("project") or {}
        found = project.get("runQueue")
        if not isinstance(found, Mapping):
            raise self._missing(queue)
        return found

    def _missing(self, queue: str) -> QueueError:
        known = queues_of(self._graphql, self._session.entity)
        if queue in known:
            return QueueError(f"queue {queue!r} did not take the item, and the backend gave no reason")
        return missing_queues(self._session.entity, [queue], known)

    def _public(self, queue: str, item_id: str) -> Submission | None:
        variables = {**self._place(queue), "itemId": item_id}
        while True:
            document = _PUBLIC_ITEM % _PUBLIC_EXTRAS[self._extras]
            try:
                found = self._queue_data("GetRunQueueItem", document, variables, queue)
                break
            except OlderServer:
                if self._extras + 1 == len(_PUBLIC_EXTRAS):
                    raise
                self._extras += 1
        node = found.get("runQueueItem")
        if node is None:
            return None
        spec = _object(node.get("runSpec"))
        item = Submission(
            id=node["id"],
            queue=queue,
            entity=self._session.entity,
            state=str(node["state"]).upper(),
            run_id=node.get("associatedRunId") or "",
            run_entity=str(spec.get("entity") or self._session.entity),
            project=str(spec.get("project") or ""),
            author=str(spec.get("author") or ""),
            error=(node.get("error") or {}).get("message") or "",
            error_files=tuple((node.get("error") or {}).get("filePaths") or ()),
        )
        return self._with_run(item) if item.state == "CLAIMED" else item

    def _with_run(self, item: Submission) -> Submission:
        """A claimed item, moved on to the state of its run: the public states end at CLAIMED."""
        state = str(self._run(item).get("state") or "")
        return replace(item, run_state=state, state=_RUN_ENDS.get(state, item.state))

    def _run(self, item: Submission) -> Mapping[str, Any]:
        if not item.run_id or not item.project:
            return {}
        variables = {"project": item.project, "entity": item.run_entity, "name": item.run_id}
        project = self._graphql.one("RunInfo", _RUN, variables, retry=BRIEF).get("project") or {}
        run = project.get("run") or {}
        assert isinstance(run, Mapping)
        return run


def _ours(node: Mapping[str, Any]) -> Submission:
    spec = _object(node.get("runSpec"))
    error = node.get("error") or {}
    return Submission(
        id=node["id"],
        queue=node["queueName"],
        entity=node["entityName"],
        state=node["detailedState"],
        run_id=node.get("associatedRunId") or "",
        run_entity=str(spec.get("entity") or node["entityName"]),
        project=str(spec.get("project") or ""),
        run_state=(node.get("run") or {}).get("state") or "",
        priority=node.get("priority"),
        author=node.get("author") or "",
        agent=(node.get("agent") or {}).get("name") or "",
        created_at=node.get("createdAt") or "",
        leased_at=node.get("leasedAt") or "",
        claimed_at=node.get("claimedAt") or "",
        ended_at=node.get("endedAt") or "",
        stop_requested=bool(node.get("stopRequested")),
        error=error.get("message") or "",
        error_files=tuple(error.get("filePaths") or ()),
        warnings=tuple(warning["message"] or "" for warning in node.get("warnings") or ()),
    )


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}
