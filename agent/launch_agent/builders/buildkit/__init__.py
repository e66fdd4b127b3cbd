"""The builder `buildkit`: images built by BuildKit, by a daemon at an address or in a Job of the cluster.

settings   what config and environment say of builds
solve      what `buildctl build` is told (pure)
daemon     one build by a daemon: a private folder, `buildctl`, output, digest
folder     the private folder: credentials, and what a crash left of it
handshake  what a daemon says to our certificate
manifest   the container of a build's Job (pure)
job        one build by a Job; the rest is that of builders.jobs
faults     what `buildctl` says when something fails -> errors
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from launch_agent.builders import Builder, Parts
from launch_agent.builders.buildkit.daemon import DaemonBuilder
from launch_agent.builders.buildkit.job import BuildkitJobBuilder
from launch_agent.builders.buildkit.settings import settings_from
from launch_agent.builders.jobs.builder import connect
from launch_agent.errors import ConfigError


def create(options: Mapping[str, Any], parts: Parts) -> Builder:
    """The builder for `builder` of the config. Connects to nothing yet. Raises ConfigError where there is no
    destination, or neither a daemon nor a context store."""
    if parts.registry is None:
        raise ConfigError(
            "BuildKit pushes what it builds, and the config names no registry",
            path="builder.destination",
            hint="name the image repository: 'destination: registry.example.com/jobs'",
        )
    environment = dict(os.environ)
    settings = settings_from(
        options, environment, repository=parts.registry.repository, is_plain=parts.is_plain
    )
    if settings.address:
        return DaemonBuilder(parts.agent, parts.registry, settings, environment)
    if parts.store is None:
        raise ConfigError(
            "BuildKit in a Job reads its build contexts from a store, and the config names none",
            path="builder.build-context-store",
            hint="name a bucket, a volume claim (kanikoPvcName), or a daemon: buildkit-address",
        )
    return BuildkitJobBuilder(connect, parts, settings)
