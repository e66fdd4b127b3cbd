"""Run requests as the pipeline makes them, for tests of what Kubernetes is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch_agent.spec.model import Credentials, RunIdentity, RunRequest
from launch_agent.spec.secret import Secret

IMAGE = "registry.example.com/team/train:v3"
IDENTITY = RunIdentity(
    agent="the agent",
    item_id="UnVuUXVldWVJdGVtOjE=",
    queue="gpu queue",
    queue_entity="team",
    run_id="abcd1234",
    entity="team",
    project="Image Net 2",
)
CREDENTIALS = Credentials(host="registry.example.com", username="puller", password=Secret("pull-password"))


def request(resource_args: Mapping[str, Any], **fields: Any) -> RunRequest:
    """A request for a run on Kubernetes; `fields` replace the usual."""
    usual: dict[str, Any] = {
        "identity": IDENTITY,
        "image": IMAGE,
        "env": {"WANDB_PROJECT": "Image Net 2", "WANDB_RUN_ID": "abcd1234", "WANDB_CONFIG": '{"cost":"5$"}'},
        "secret_env": {"WANDB_API_KEY": Secret("the-key")},
    }
    return RunRequest(**{**usual, "resource_args": resource_args, **fields})
