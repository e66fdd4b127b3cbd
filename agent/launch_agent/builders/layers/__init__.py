"""The builder `layers`: images put together from layers by the agent itself, straight into the registry.

builder    one build: base, packages, code, push
base       the image that it begins with, and the Python in it
packages   the layer of a job's packages, kept by its content

It needs no engine, no cluster and no privileges, and runs no code of a job or a package. So it builds what
the agent would write the Dockerfile for, and only where every package comes as a wheel.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch_agent.builders import Builder, Parts
from launch_agent.builders.layers.builder import LayersBuilder
from launch_agent.errors import ConfigError


def create(options: Mapping[str, Any], parts: Parts) -> Builder:
    """The builder for `builder` of the config. Raises ConfigError where no registry takes the images."""
    if parts.registry is None:
        raise ConfigError(
            "the builder 'layers' has no registry to put images into",
            hint="set builder.destination to an image repository",
        )
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return LayersBuilder(
        parts.registry,
        cache=Path(home) / "launch-agent" / "layers",
        environment=os.environ,
        platform=str(options.get("platform", "")),
        plain=parts.is_plain,
        timeout=float(options.get("build-timeout", 5400)),
    )
