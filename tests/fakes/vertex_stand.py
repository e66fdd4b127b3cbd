"""A whole agent whose queue is for Vertex AI: queue server, service, token endpoint and agent."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.custom_jobs import CustomJobs
from tests.fakes.google_tokens import GoogleTokens
from tests.fakes.server_process import ServerProcess

PROJECT, REGION = "treasure", "europe-west4"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/jobs/train@sha256:{'0' * 64}"
_QUEUE = "q"


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexStand:
    backend: Backend
    server: CustomJobs
    agent: AgentProcess

    def push(self, script: str = "true") -> str:
        """A job that is a shell script; returns its item's id."""
        spec = {
            "project": "p",
            "resource": "vertex",
            "docker": {"docker_image": IMAGE},
            "overrides": {"entry_point": ["sh", "-c", script]},
        }
        return self.backend.push(_QUEUE, spec)


@contextmanager
def vertex_stand(folder: Path, *, runs: bool, poll: float = 1.0, **config: Any) -> Iterator[VertexStand]:
    """The agent runs already. `config` is laid over its config."""
    queue = {
        "spec": {
            "staging_bucket": "gs://bucket",
            "worker_pool_specs": [
                {
                    "machine_spec": {"machine_type": "n1-standard-4"},
                    "container_spec": {"image_uri": "${image_uri}"},
                }
            ],
        }
    }
    with ExitStack() as stack:
        queues = stack.enter_context(ServerProcess(folder / "server"))
        backend = Backend(url=queues.url, api_key=queues.api_key, entity="team")
        backend.create_queue(_QUEUE, "vertex", queue)
        tokens = stack.enter_context(GoogleTokens(folder))
        server = stack.enter_context(CustomJobs(token="ya29.", runs=runs))
        options = {"poll": poll, "endpoints": {"aiplatform": server.url, "logging": server.url}}
        full = {
            "name": f"agent-{uuid.uuid4().hex[:8]}",
            "builder": {"type": "noop"},
            "max_jobs": -1,
            "runner": {"vertex": options},
            **config,
        }
        variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(tokens.key_file)}
        agent = AgentProcess(folder, queues.url, queues.api_key, environment=variables, **full)
        place = {"environment": {"type": "gcp", "project": PROJECT, "region": REGION}}
        agent.config.write_text(json.dumps({**json.loads(agent.config.read_text()), **place}))
        stack.enter_context(agent)
        yield VertexStand(backend=backend, server=server, agent=agent)
