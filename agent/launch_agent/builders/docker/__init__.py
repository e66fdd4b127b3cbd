"""The builder `docker`: images built by a Docker engine, and pushed where a registry is named.

builder    one build: begin, follow, stop, push
events     what the engine says while it builds and pushes -> lines of a log, digests, errors
local      the engine's own images, where none is pushed
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from launch_agent.builders import Builder, Parts
from launch_agent.builders.docker.builder import DockerBuilder
from launch_agent.builders.proxies import build_arguments
from launch_agent.clients.docker_engine import connect


def create(options: Mapping[str, Any], parts: Parts) -> Builder:
    """The builder for `builder` of the config; `host` among the options names the engine. Connects to nothing
    yet. Without a registry images stay in the engine, where only its own containers find them."""
    host = str(options.get("host", ""))
    return DockerBuilder(
        lambda: connect(host),
        parts.registry,
        platform=str(options.get("platform", "")),
        timeout=float(options.get("build-timeout", 5400)),
        proxies=build_arguments(os.environ),
    )
