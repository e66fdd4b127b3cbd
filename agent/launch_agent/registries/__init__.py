"""Where images live: what every registry offers the agent."""

from __future__ import annotations

from typing import Any, Protocol

from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch


class Cloud(Protocol):
    """What a registry needs of the environment: the SDK's own credentials, fresh at each call."""

    @property
    def type(self) -> str: ...

    @property
    def region(self) -> str: ...

    def session(self) -> Any: ...


class Registry(Protocol):
    """One image repository of one registry. Every call to the outside has a timeout.

    The kinds differ in their credentials only; all speak through the one OCI client. Each kind is a file with
    `create(destination, environment, options)`: the repository's URI (`host[:port]/path`), the Environment
    (None where there is none) and the config's `registry` part.
    """

    @property
    def repository(self) -> str:
        """`host[:port]/path`, without tag."""
        ...

    def verify(self) -> None:
        """Raise RegistryError with a hint where the repository cannot be used. Creates it where the config
        says so, and changes nothing else."""
        ...

    def exists(self, ref: ImageRef) -> str:
        """The digest of the image's manifest; empty where there is no such image. Raises RegistryError."""
        ...

    def credentials(self) -> Credentials | None:
        """What opens the registry now; None where it needs none. Kept until shortly before it expires."""
        ...

    def build_pod(self) -> PodPatch:
        """What lets a build's pod push here."""
        ...
