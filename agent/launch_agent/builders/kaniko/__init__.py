"""The builder `kaniko`: images built by a Job of the cluster that the agent runs in, without privileges.

settings   what config and environment say of builds
fetching   a container that fetches what kaniko cannot (pure)
manifest   what the Job's container is told, and with which credentials (pure)
builder    one build, and what its last words mean; the rest is that of builders.jobs
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from launch_agent.builders import Builder, Parts
from launch_agent.builders.jobs.builder import connect
from launch_agent.builders.kaniko.builder import KanikoBuilder
from launch_agent.builders.kaniko.settings import settings_from
from launch_agent.errors import ConfigError


def create(options: Mapping[str, Any], parts: Parts) -> Builder:
    """The builder for `builder` of the config. Connects to nothing yet. Raises ConfigError where there is no
    destination or no context store."""
    if parts.registry is None:
        raise ConfigError(
            "kaniko pushes what it builds, and the config names no registry",
            path="builder.destination",
            hint="name the image repository: 'destination: registry.example.com/jobs'",
        )
    if parts.store is None:
        raise ConfigError(
            "kaniko reads its build contexts from a store, and the config names none",
            path="builder.build-context-store",
            hint="name a bucket (s3://…, gs://…, https://….blob.core.windows.net/…) or kanikoPvcName",
        )

    settings = settings_from(options, os.environ, is_plain=parts.is_plain)
    return KanikoBuilder(connect, parts, settings)
