"""The embedded queue server, and what its users and runs do to it, for tests of its clients."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3

from launch_agent.queues.wandb import WandbQueues
from launch_agent.server.serve import Server
from launch_agent.spec.model import RunIdentity
from launch_agent.spec.secret import Secret
from tests.contracts.queue_client import ENTITY
from tests.fakes.backend import Backend

PROJECT = "model-registry"
KEY = "local-" + "a1" * 20


class OwnServer:
    """`later` moves the server's clock on, so that leases run out without waiting."""

    def __init__(self, folder: Path, *queues: str) -> None:
        self._offset = 0.0
        self.server = Server(
            data_dir=folder, entity=ENTITY, api_key=KEY, clock=lambda: time.time() + self._offset
        )
        self.server.start()
        self.backend = Backend(url=self.server.url, api_key=KEY, entity=ENTITY)
        self.client = WandbQueues(self.server.url, Secret(KEY))
        for queue in queues:
            self.create_queue(queue)

    def create_queue(self, name: str, *, prioritized: bool = False) -> None:
        answer = self.backend.query(
            """mutation Make($entity: String!, $queue: String!, $config: JSONString!,
                 $mode: RunQueuePrioritizationMode) {
               upsertRunQueue(input: {entityName: $entity, projectName: "model-registry", queueName: $queue,
                 resourceType: "local-process", resourceConfig: $config, prioritizationMode: $mode})
               { success configSchemaValidationErrors } }""",
            entity=ENTITY,
            queue=name,
            config=json.dumps({"resource_args": {"local-process": {}}}),
            mode="V0" if prioritized else "DISABLED",
        )
        assert answer["upsertRunQueue"]["success"], answer

    def push(self, queue: str, spec: Mapping[str, Any]) -> str:
        answer = self.backend.query(
            """mutation Push($entity: String!, $queue: String!, $spec: JSONString!) {
               pushToRunQueueByName(input: {entityName: $entity, projectName: "model-registry",
                 queueName: $queue, runSpec: $spec}) { runQueueItemId } }""",
            entity=ENTITY,
            queue=queue,
            spec=json.dumps(spec),
        )
        return str(answer["pushToRunQueueByName"]["runQueueItemId"])

    def item(self, item_id: str) -> dict[str, Any]:
        answer = self.backend.query(
            """query Item($id: ID!) { runQueueItem(id: $id) { state detailedState queueName associatedRunId
                 agent { name } error { message stage filePaths } warnings { message stage } } }""",
            id=item_id,
        )
        found = answer["runQueueItem"]
        assert isinstance(found, dict)
        return found

    def state(self, queue: str, item_id: str) -> str:
        found = self.item(item_id)
        assert found["queueName"] == queue
        return str(found["state"])

    def error(self, queue: str, item_id: str) -> str:
        assert queue
        return str(self.item(item_id)["error"]["message"])

    def start_run(self, claim: RunIdentity) -> None:
        self.backend.query(
            """mutation UpsertBucket($name: String, $project: String, $entity: String) {
               upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, state: "running"})
               { bucket { id } } }""",
            name=claim.run_id,
            project=claim.project,
            entity=claim.entity,
        )

    def stream_output(self, claim: RunIdentity, *lines: str) -> None:
        """What a run prints, as the official client sends it."""
        answer = urllib3.request(
            "POST",
            f"{self.server.url}/files/{claim.entity}/{claim.project}/{claim.run_id}/file_stream",
            json={"files": {"output.log": {"offset": 0, "content": list(lines)}}},
            headers=urllib3.make_headers(basic_auth=f"api:{KEY}"),
            timeout=10.0,
            retries=False,
        )
        assert answer.status == 200, answer.data

    def ask_to_stop(self, claim: RunIdentity) -> None:
        answer = self.backend.query(
            "mutation Stop($id: ID!) { stopRunQueueItem(input: {runQueueItemId: $id}) { success } }",
            id=claim.item_id,
        )
        assert answer["stopRunQueueItem"]["success"]

    def stop_agent(self, agent_id: str) -> None:
        self.backend.query(
            "mutation Stop($id: ID!) { stopLaunchAgent(input: {launchAgentId: $id}) { success } }",
            id=agent_id,
        )

    def expire_leases(self) -> None:
        self.later(61.0)

    def later(self, seconds: float) -> None:
        self._offset += seconds

    def close(self) -> None:
        self.client.close()
        self.server.stop()
