"""The target resource `vertex`: custom jobs of Vertex AI, by its REST API.

request     run request -> CustomJob, in either spelling of its keys (pure)
states      a job as the API tells it -> where the run is, with what to change (pure)
refusals    the API's errors -> errors of runners (pure)
service     the API and Cloud Logging over HTTP, with fresh credentials
listing     what all jobs are doing: a few requests a minute, however many there are
told        which ends were reported, over a restart
runner, run create, find again, follow, stop

The SDK for Vertex AI is left out on purpose: it takes hundreds of megabytes for five requests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch_agent import plugins
from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.errors import ConfigError
from launch_agent.runners import Runner
from launch_agent.runners.vertex.runner import VertexRunner
from launch_agent.runners.vertex.service import Service
from launch_agent.runners.vertex.told import Told


def create(options: Mapping[str, Any]) -> Runner:
    """The runner for `runner.vertex` of the config. Connects to nothing yet.

    `options["environment"]` is the config's `environment` part, `options["state"]` the folder for what
    outlives the process. Raises ConfigError where it is not Google
    Cloud, or names no project or region.
    """
    environment = options.get("environment") or {}
    if environment.get("type") != "gcp":
        raise ConfigError(
            "jobs for Vertex AI need credentials of Google Cloud, and the config's environment is "
            f"{environment.get('type') or 'not set'}",
            path="environment.type",
            hint="set 'environment: {type: gcp, region: …, project: …}' in the agent's config",
        )
    gcp = plugins.load("environments", "gcp").create(environment)
    for name, value in (("project", gcp.project), ("region", gcp.region)):
        if not value:
            raise ConfigError(
                f"jobs for Vertex AI need a {name}, and neither the config nor the credentials name one",
                path=f"environment.{name}",
                hint=f"set environment.{name} in the agent's config",
            )
    service = Service(
        HttpClient(HttpSettings(environment=os.environ)),
        gcp.session,
        project=gcp.project,
        region=gcp.region,
        endpoints=options["endpoints"],
    )
    state = options.get("state")
    return VertexRunner(
        service,
        is_kept=options["keep"],
        told=Told(Path(state) / "vertex-told" if state else None),
        fresh=float(options["poll"]),
    )
