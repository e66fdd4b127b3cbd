"""The target resources on which interop jobs run: how an agent is opened and a job is written for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fixtures.interop import PackageImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`python` is the interpreter there that has the real package; `image` is None for processes."""

    resource: str
    python: str
    image: str | None = None
    queue_config: Mapping[str, Any] = field(default_factory=dict)
    agent_config: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def spec(self, code: str, **overrides: Any) -> dict[str, Any]:
        """A run spec whose job is the Python program `code`. A process needs an entry point; in an image that
        has none of its own, the arguments are the command."""
        command = [self.python, "-c", code]
        if self.image is None:
            source = {"uri": "placeholder-uri-scheduler"}
            return self._spec(source, {"entry_point": command, **overrides})
        return self._spec({"docker": {"docker_image": self.image}}, {"args": command, **overrides})

    def _spec(self, source: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
        return {**source, "project": "vision", "resource": self.resource, "overrides": dict(overrides)}


def processes(python: Path) -> Target:
    """Processes beside the agent, in the environment that holds the real package."""
    return Target(
        resource="local-process",
        python=str(python),
        agent_config={
            "runner": {"local-process": {"enabled": True}},
            "policy": {"allow": {"local-process": {"entry-point": True}}},
        },
    )


def containers(image: PackageImage, host: str) -> Target:
    """Containers of an engine at the address `host`. A server on the loopback is reached by the host's own
    network alone, which both agents choose by themselves where the server's address is a local one."""
    return Target(
        resource="local-container",
        python="/usr/bin/python3",
        image=image.name,
        queue_config={
            "env": [f"PYTHONPATH={image.packages}", "HOME=/tmp", "WANDB_ERROR_REPORTING=false"],
            "workdir": "/tmp",
        },
        env={"DOCKER_HOST": host},
    )
