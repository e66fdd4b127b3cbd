"""The target resource `local-container`: containers of a Docker engine.

arguments, values   resource args -> parts of the engine's create request (pure)
creation            run request + arguments -> create request (pure)
runner              create, start, find again
run                 one container: state, output, end
listing             what all containers are doing, asked once a second
pull                images, with progress and reasons
stopping            signal, grace, kill
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch_agent.runners import Runner
from launch_agent.runners.docker.runner import DockerRunner, options_from


def create(options: Mapping[str, Any]) -> Runner:
    """The runner for `runner.local-container` of the config. Connects to nothing yet."""
    return DockerRunner(options_from(options))
