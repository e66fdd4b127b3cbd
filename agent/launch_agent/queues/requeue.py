"""Puts a preempted job back into its queue on a backend that has no word for that: by pushing it again.

The public protocol has no idempotency key for a push, so a push that may have arrived is never repeated, and
what it does not tell of an item (its spec, its priority) is left out by older servers: then the agent's own
record of the spec is all there is, and the priority is the queue's default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from launch_agent.clients.http import NoAnswer, Retry
from launch_agent.errors import QueueError, QueueUnavailable
from launch_agent.queues.faults import OlderServer
from launch_agent.queues.graphql import GraphQL
from launch_agent.queues.operations import PROJECT
from launch_agent.queues.registration import BRIEF
from launch_agent.spec.model import RunIdentity

RESUME_COUNT = "_resume_count"

_ITEM = """query GetRunQueueItem($projectName: String!, $entityName: String!, $runQueue: String!,
    $itemId: ID!) {
  project(name: $projectName, entityName: $entityName) { runQueue(name: $runQueue) {
    runQueueItem(id: $itemId) { id %s } } } }"""
# What a backend may know of an item; tried in this order until it does.
_KNOWN = ("runSpec priority", "runSpec", "priority", "")
_PUSH = """mutation pushToRunQueueByName($entityName: String!, $projectName: String!, $queueName: String!,
    $runSpec: JSONString!%(declared)s) {
  pushToRunQueueByName(input: {entityName: $entityName, projectName: $projectName, queueName: $queueName,
    runSpec: $runSpec%(used)s}) { runQueueItemId } }"""
_UNSENT_ONLY = Retry(attempts=3, budget=5.0, unsent_only=True)
_LOOK_HINT = "look whether it is in the queue before you submit it again"


def by_push(
    graphql: GraphQL, claim: RunIdentity, spec: Mapping[str, Any] | None, *, most: int, again: bool
) -> str | None:
    """See QueueClient.requeue."""
    if again:
        raise QueueError(
            "the agent was restarted while it put the job back, so that it may be in the queue",
            hint=_LOOK_HINT,
        )
    told = _told(graphql, claim)
    spec = spec or told.get("runSpec")
    if not spec:
        raise QueueError(
            "the backend does not tell what the job was, and the agent's own record of it is gone",
            hint="submit it again, and keep 'state-dir' on a volume",
        )
    resumed = resume_count(spec) + 1
    if resumed > most:
        return None
    successor = {**spec, "run_id": claim.run_id, RESUME_COUNT: resumed}
    return _push(graphql, claim, json.dumps(successor), told.get("priority"))


def resume_count(spec: Mapping[str, Any]) -> int:
    """How often the job was put back before."""
    count = spec.get(RESUME_COUNT)
    return count if isinstance(count, int) and count > 0 else 0


def _told(graphql: GraphQL, claim: RunIdentity) -> Mapping[str, Any]:
    """What the backend tells of the item: `runSpec` as a map, `priority` as a number, or neither."""
    variables = {
        "projectName": PROJECT,
        "entityName": claim.queue_entity,
        "runQueue": claim.queue,
        "itemId": claim.item_id,
    }
    for fields in _KNOWN:
        try:
            data = graphql.one("GetRunQueueItem", _ITEM % fields, variables, retry=BRIEF)
        except OlderServer:
            continue
        queue = (data.get("project") or {}).get("runQueue") or {}
        item = queue.get("runQueueItem") or {}
        priority = item.get("priority")
        return {
            "runSpec": _readable(item.get("runSpec")),
            "priority": priority if isinstance(priority, int) else None,
        }
    return {}


def _readable(spec: Any) -> Mapping[str, Any] | None:
    """A spec that can be pushed again; None for one whose travelling key the backend shows masked."""
    if isinstance(spec, str):
        try:
            spec = json.loads(spec)
        except ValueError:
            return None
    if not isinstance(spec, Mapping) or spec.get("_wandb_api_key"):
        return None
    return spec


def _push(graphql: GraphQL, claim: RunIdentity, spec: str, priority: int | None) -> str:
    given = {} if priority is None else {"priority": priority}
    variables = {
        "entityName": claim.queue_entity,
        "projectName": PROJECT,
        "queueName": claim.queue,
        "runSpec": spec,
        **given,
    }
    document = _PUSH % {
        "declared": ", $priority: Int" if given else "",
        "used": ", priority: $priority" if given else "",
    }
    try:
        data = graphql.one("pushToRunQueueByName", document, variables, retry=_UNSENT_ONLY)
    except QueueUnavailable as error:
        cause = error.__cause__
        # A server that asks for patience, as those that limit rates do, has not taken the job.
        if error.retry_after or (isinstance(cause, NoAnswer) and not cause.sent):
            raise
        raise QueueError(
            f"the backend did not say whether it took the job: {error.message}", hint=_LOOK_HINT
        ) from error
    pushed = data.get("pushToRunQueueByName") or {}
    if not pushed.get("runQueueItemId"):
        raise QueueError(f"queue {claim.queue!r} did not take the job, and the backend gave no reason")
    return str(pushed["runQueueItemId"])
