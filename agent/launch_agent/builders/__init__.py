"""What turns code into a container image."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from launch_agent.environments import Environment
from launch_agent.registries import Registry
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.stores import ContextStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a builder may draw on: the agent's name, and what its config names. `registry` is where images go,
    `store` where build contexts wait; None where the config names none. `is_plain` says that the registry may
    be spoken to without TLS."""

    agent: str
    registry: Registry | None = None
    store: ContextStore | None = None
    environment: Environment | None = None
    is_plain: bool = False


class Builder(Protocol):
    """Builds images and puts them where the destination says. Every call to the outside has a timeout.

    Each kind is a file or folder with `create(options, parts)`, where `options` is the config's `builder`
    part as a mapping.
    """

    @property
    def repository(self) -> str:
        """Where images get their names: `host[:port]/path`."""
        ...

    @property
    def has_mounts(self) -> bool:
        """Whether Dockerfiles may use BuildKit's cache mounts."""
        ...

    def find(self, ref: ImageRef) -> ImageRef | None:
        """The image of this name, with its digest, where it is ready to be run; None where it is to be built.
        Raises LaunchError where that cannot be told."""
        ...

    def verify(self) -> None:
        """Raise LaunchError with a hint where nothing can be built. Changes nothing."""
        ...

    def build(
        self, context: BuildContext, ref: ImageRef, *, log: Callable[[str], None], stop: threading.Event
    ) -> ImageRef:
        """Build and push; returns the reference with its digest. `log` is called with each line of output.

        Ends with BuildError soon after `stop` is set; a failed build's error carries the end of its log.
        Whatever was made for the build is gone when this returns or raises.
        """
        ...

    def sweep(self) -> None:
        """Remove what builds of an earlier process of this agent left."""
        ...

    def close(self) -> None: ...
