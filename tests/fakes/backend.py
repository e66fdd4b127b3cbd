"""A plain GraphQL client of the embedded server, with which a test looks at what another client has done.

It knows nothing of the server's insides nor of our own queue client, so that a test does not compare a thing
with itself. Every answer must be free of errors; a wrong one fails the test with the server's own words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

PROJECT = "model-registry"

_ITEM = """
  id state detailedState associatedRunId runSpec priority deliveries queueName stopRequested
  error { message stage filePaths } warnings { message stage }
"""

_RUN = """
  id name state stopped exitCode config summaryMetrics jobType historyLineCount
  files { edges { node { name sizeBytes directUrl } } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One server and the key of one of its users."""

    url: str
    api_key: str
    entity: str

    def query(self, document: str, **variables: Any) -> dict[str, Any]:
        """Send a document and return its `data`."""
        answer = urllib3.request(
            "POST",
            f"{self.url}/graphql",
            json={"query": document, "variables": variables},
            headers=urllib3.make_headers(basic_auth=f"api:{self.api_key}"),
            timeout=10.0,
            retries=False,
        )
        body = answer.json()
        assert answer.status == 200, f"{answer.status}: {body}"
        assert not body.get("errors"), body["errors"]
        data = body["data"]
        assert isinstance(data, dict)
        return data

    def download(self, url: str) -> bytes:
        """The bytes of a file of a run, from the `directUrl` that the server told."""
        headers = urllib3.make_headers(basic_auth=f"api:{self.api_key}")
        answer = urllib3.request("GET", url, headers=headers, timeout=10.0, retries=False)
        assert answer.status == 200, f"{url}: {answer.status}"
        return answer.data

    def create_queue(
        self,
        name: str,
        resource: str,
        config: Mapping[str, Any] | None = None,
        *,
        prioritised: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        """Create a queue. `config` is the part that belongs to its resource, `variables` name -> {schema}."""
        self.query(
            """mutation($input: UpsertRunQueueInput!) { upsertRunQueue(input: $input) { success } }""",
            input={
                "entityName": self.entity,
                "projectName": PROJECT,
                "queueName": name,
                "resourceType": resource,
                "resourceConfig": json.dumps({"resource_args": {resource: config or {}}}),
                "templateVariables": json.dumps(variables or {}),
                "prioritizationMode": "V0" if prioritised else "DISABLED",
            },
        )

    def push(self, queue: str, spec: Mapping[str, Any]) -> str:
        """Push a run spec and return the item's id. `entity` is filled in where the spec has none."""
        data = self.query(
            """mutation($input: PushToRunQueueByNameInput!) {
                 pushToRunQueueByName(input: $input) { runQueueItemId } }""",
            input={
                "entityName": self.entity,
                "projectName": PROJECT,
                "queueName": queue,
                "runSpec": json.dumps({"entity": self.entity, **spec}),
            },
        )
        return str(data["pushToRunQueueByName"]["runQueueItemId"])

    def pop(self, queue: str) -> tuple[str, dict[str, Any]] | None:
        """Lease the next item; its id and spec, or None where the queue is empty."""
        data = self.query(
            """mutation($input: PopFromRunQueueInput!) {
                 popFromRunQueue(input: $input) { runQueueItemId runSpec } }""",
            input={"entityName": self.entity, "projectName": PROJECT, "queueName": queue},
        )
        popped = data["popFromRunQueue"]
        return None if popped is None else (popped["runQueueItemId"], popped["runSpec"])

    def ack(self, item_id: str, run_id: str) -> None:
        data = self.query(
            """mutation($input: AckRunQueueItemInput!) { ackRunQueueItem(input: $input) { success } }""",
            input={"runQueueItemId": item_id, "runName": run_id},
        )
        assert data["ackRunQueueItem"]["success"]

    def fail(self, item_id: str, message: str, stage: str = "run") -> None:
        self.query(
            """mutation($input: FailRunQueueItemInput!) { failRunQueueItem(input: $input) { success } }""",
            input={"runQueueItemId": item_id, "message": message, "stage": stage},
        )

    def finish(self, item_id: str, outcome: str) -> None:
        self.query(
            """mutation($input: FinishRunQueueItemInput!) {
                 finishRunQueueItem(input: $input) { success } }""",
            input={"runQueueItemId": item_id, "outcome": outcome},
        )

    def items(self, queue: str) -> list[dict[str, Any]]:
        """The items of a queue, oldest first; `runSpec` is read from its JSON text."""
        data = self.query(
            f"""query($entity: String!, $queue: String!) {{
                  project(name: "{PROJECT}", entityName: $entity) {{
                    runQueue(name: $queue) {{ runQueueItems {{ edges {{ node {{ {_ITEM} }} }} }} }} }} }}""",
            entity=self.entity,
            queue=queue,
        )
        queue_found = data["project"]["runQueue"]
        assert queue_found is not None, f"there is no queue {queue}"
        return [_with_spec(edge["node"]) for edge in queue_found["runQueueItems"]["edges"]]

    def item(self, item_id: str) -> dict[str, Any]:
        data = self.query(f"query($id: ID!) {{ runQueueItem(id: $id) {{ {_ITEM} }} }}", id=item_id)
        return _with_spec(data["runQueueItem"])

    def run(self, project: str, run_id: str) -> dict[str, Any] | None:
        """A run's record, None where no such run has reported itself. `config` and `summaryMetrics` are read
        from their JSON texts, `files` becomes a map of names to file records."""
        data = self.query(
            f"""query($entity: String!, $project: String!, $run: String!) {{
                  project(name: $project, entityName: $entity) {{ run(name: $run) {{ {_RUN} }} }} }}""",
            entity=self.entity,
            project=project,
            run=run_id,
        )
        run = (data["project"] or {}).get("run")
        if run is None:
            return None
        config = json.loads(run["config"] or "{}")
        files = {edge["node"]["name"]: edge["node"] for edge in run["files"]["edges"]}
        values = {name: entry["value"] for name, entry in config.items() if name != "_wandb"}
        summary = json.loads(run["summaryMetrics"] or "{}")
        return {**run, "config": values, "summaryMetrics": summary, "files": files}

    def error_log(self, item_id: str) -> str:
        """The log that came with an item's failure: a file of the run that the item's agent has for itself.
        Empty while it is not there; clients report a failure before its files are uploaded."""
        paths = (self.item(item_id)["error"] or {}).get("filePaths") or []
        for agent in self.agents():
            files = (self.run(PROJECT, agent["name"]) or {}).get("files", {})
            for path in paths:
                if path in files and files[path]["sizeBytes"]:
                    return self.download(files[path]["directUrl"]).decode()
        return ""

    def stop_item(self, item_id: str) -> None:
        """What a user does who presses "stop" beside a job."""
        self.query(
            """mutation($input: StopRunQueueItemInput!) { stopRunQueueItem(input: $input) { success } }""",
            input={"runQueueItemId": item_id},
        )

    def agents(self) -> list[dict[str, Any]]:
        data = self.query(
            """query($entity: String) {
                 launchAgents(entityName: $entity) {
                   id name agentStatus version agentConfig stopPolling } }""",
            entity=self.entity,
        )
        agents = data["launchAgents"]
        assert isinstance(agents, list)
        return agents

    def stop_agent(self, agent_id: str) -> None:
        self.query(
            """mutation($input: StopLaunchAgentInput!) { stopLaunchAgent(input: $input) { success } }""",
            input={"launchAgentId": agent_id},
        )


def _with_spec(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "runSpec": json.loads(item["runSpec"])}
