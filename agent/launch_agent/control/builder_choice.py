"""Which builder is active: the one that the config names, else docker where an engine answers, else noop.

An explicit builder always wins, and a choice of any builder takes no image job away.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launch_agent import plugins
from launch_agent.config.model import AgentConfig
from launch_agent.errors import LaunchError, Refused
from launch_agent.spec.model import Resource

NOOP = "noop"
_SOCKETS = ("/var/run/docker.sock", "{XDG_RUNTIME_DIR}/docker.sock", "{HOME}/.docker/run/docker.sock")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderChoice:
    """The active builder, and why it is that one."""

    type: str
    why: str

    def refusal(self, job: str) -> Refused:
        """What a job is told that is not a ready image, where no builder is active."""
        return Refused(
            f"the job {job!r} has to be built, and no builder is active: builder.type is noop ({self.why})",
            hint="set 'builder' in the agent's config, or builder.base-image to an image that code runs in "
            "without a build, or submit a ready image",
        )


def choose(config: AgentConfig, environment: Mapping[str, str]) -> BuilderChoice:
    """Decide once, at the start. `environment` is the process's."""
    if config.builder.type:
        return BuilderChoice(type=config.builder.type, why="the config says so")
    if not _engine_is_likely(environment):
        return BuilderChoice(type=NOOP, why="the config names no builder, and no Docker engine is here")
    options = config.runner.get(Resource.LOCAL_CONTAINER, {})
    try:
        runner = plugins.load("runners", "docker").create(options)
        try:
            runner.verify()
        finally:
            runner.close()
    except LaunchError as error:
        return BuilderChoice(type=NOOP, why=f"the config names no builder; {error.message}")
    return BuilderChoice(type="docker", why="the config names no builder, and a Docker engine answers")


def _engine_is_likely(environment: Mapping[str, str]) -> bool:
    """A look at files before the SDK is imported: an agent in a pod shall not pay for it."""
    if environment.get("DOCKER_HOST") or shutil.which("docker", path=environment.get("PATH")):
        return True
    values = {name: environment.get(name, "") for name in ("XDG_RUNTIME_DIR", "HOME")}
    return any(Path(socket.format(**values)).exists() for socket in _SOCKETS)
