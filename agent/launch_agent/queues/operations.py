"""The protocol's root fields as the agent sends them: the texts, and nothing that decides.

`$name` are arguments whose types stand beside them; `graphql.batch` renames them where many share a document.
"""

from __future__ import annotations

from launch_agent.queues.graphql import Root
from launch_agent.spec.model import RunIdentity

# The project that holds everything of Launch in an entity, for every client of the protocol.
PROJECT = "model-registry"

VIEWER = "query Viewer { viewer { id entity username } }"
QUEUES = """query ProjectRunQueues($entity: String!, $projectName: String!) {
  project(entityName: $entity, name: $projectName) { runQueues { id name createdBy access } } }"""
FEATURES = "query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }"
CREATE_AGENT = """mutation createLaunchAgent($entity: String!, $project: String!, $queues: [ID!]!,
    $hostname: String!, $agentConfig: JSONString, $version: String%(declared)s) {
  createLaunchAgent(input: {entityName: $entity, projectName: $project, runQueues: $queues,
    hostname: $hostname, agentConfig: $agentConfig, version: $version%(used)s}) { launchAgentId } }"""
CREATE_AGENT_OLDER = """mutation createLaunchAgent($entity: String!, $project: String!, $queues: [ID!]!,
    $hostname: String!) {
  createLaunchAgent(input: {entityName: $entity, projectName: $project, runQueues: $queues,
    hostname: $hostname}) { launchAgentId } }"""
AGENT = "query LaunchAgent($agentId: ID!) { launchAgent(id: $agentId) { id stopPolling } }"
UPDATE_AGENT = """mutation updateLaunchAgent($agentId: ID!, $agentStatus: String) {
  updateLaunchAgent(input: {launchAgentId: $agentId, agentStatus: $agentStatus}) { success } }"""


def create_agent(*, named: bool) -> str:
    """The newest form; `named` adds the agent's own name, which our server alone takes."""
    extra = (
        {"declared": ", $name: String", "used": ", name: $name"} if named else {"declared": "", "used": ""}
    )
    return CREATE_AGENT % extra


def pop(entity: str, queue: str, agent_id: str) -> Root:
    return Root(
        call="popFromRunQueue(input: {entityName: $entity, projectName: $project, queueName: $queueName,"
        " launchAgentId: $launchAgentId}) { runQueueItemId runSpec }",
        args={
            "entity": ("String!", entity),
            "project": ("String!", PROJECT),
            "queueName": ("String!", queue),
            "launchAgentId": ("ID", agent_id or None),
        },
    )


def ack(claim: RunIdentity, agent_id: str = "") -> Root:
    """`agent_id` where the server (ours) checks that the lease is the agent's own."""
    who = ", launchAgentId: $launchAgentId" if agent_id else ""
    return Root(
        call=f"ackRunQueueItem(input: {{runQueueItemId: $itemId, runName: $runId{who}}}) {{ success }}",
        args={
            "itemId": ("ID!", claim.item_id),
            "runId": ("String!", claim.run_id),
            **({"launchAgentId": ("ID", agent_id)} if agent_id else {}),
        },
    )


def item(claim: RunIdentity, *, with_agent: bool = False) -> Root:
    """Where one item is: `{runQueue: {runQueueItem: {state associatedRunId agent {name}}}}`; the agent where
    it is asked for, since only our server tells it."""
    agent = " agent { name }" if with_agent else ""
    return Root(
        call="project(name: $projectName, entityName: $entityName) { runQueue(name: $runQueue) {"
        f" runQueueItem(id: $itemId) {{ id state associatedRunId{agent} }} }} }}",
        args={
            "projectName": ("String!", PROJECT),
            "entityName": ("String!", claim.queue_entity),
            "runQueue": ("String!", claim.queue),
            "itemId": ("ID!", claim.item_id),
        },
    )


def runs(entity: str, project: str, names: list[str], want: str) -> Root:
    """Many runs of one project under aliases `x0`, `x1`, …; `want` is `stopped` or `state`."""
    fields = " ".join(f"x{n}: run(name: $run{n}) {{ {want} }}" for n in range(len(names)))
    return Root(
        call=f"project(name: $projectName, entityName: $entityName) {{ {fields} }}",
        args={
            "projectName": ("String", project),
            "entityName": ("String", entity),
            **{f"run{n}": ("String!", name) for n, name in enumerate(names)},
        },
    )


def fail(item_id: str, message: str, stage: str, files: list[str]) -> Root:
    return _report("failRunQueueItem", item_id, message, stage, files)


def warn(item_id: str, message: str, stage: str) -> Root:
    return _report("updateRunQueueItemWarning", item_id, message, stage, [])


def finish(item_id: str, outcome: str, message: str, stage: str, files: list[str]) -> Root:
    """Our server's own: every end of an item (feature LAUNCH_ITEM_OUTCOMES)."""
    return Root(
        call="finishRunQueueItem(input: {runQueueItemId: $runQueueItemId, outcome: $outcome,"
        " message: $message, stage: $stage, filePaths: $filePaths}) { success }",
        args={
            "runQueueItemId": ("ID!", item_id),
            "outcome": ("String!", outcome),
            "message": ("String", message or None),
            "stage": ("String", stage or None),
            "filePaths": ("[String!]", files),
        },
    )


def requeue(item_id: str, most: int) -> Root:
    """Our server's own: a preempted item's job back into its queue (feature LAUNCH_ITEM_REQUEUE)."""
    return Root(
        call="requeueRunQueueItem(input: {runQueueItemId: $runQueueItemId, mostResumes: $mostResumes})"
        " { success runQueueItemId }",
        args={"runQueueItemId": ("ID!", item_id), "mostResumes": ("Int!", most)},
    )


def _report(field: str, item_id: str, message: str, stage: str, files: list[str]) -> Root:
    return Root(
        call=f"{field}(input: {{runQueueItemId: $runQueueItemId, message: $message, stage: $stage,"
        " filePaths: $filePaths}) { success }",
        args={
            "runQueueItemId": ("ID!", item_id),
            "message": ("String!", message),
            "stage": ("String!", stage),
            "filePaths": ("[String!]", files),
        },
    )
