"""Where build contexts wait for a build that runs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret


class Cloud(Protocol):
    """What a store needs of the environment: the SDK's own credentials, fresh at each call."""

    @property
    def type(self) -> str: ...

    @property
    def project(self) -> str: ...

    def session(self) -> Any: ...


class ContextStore(Protocol):
    """One prefix of one bucket, container or volume. Every call to the outside has a timeout.

    Each kind is a file with `create(uri, environment, options)`.
    """

    def verify(self) -> None:
        """Raise StoreError naming the missing permission or bucket. Leaves nothing behind."""
        ...

    def put(self, archive: Path, key: str) -> str:
        """Store a file under a key below the prefix; returns its address as the builder's pod names it.
        Streams: memory does not grow with the file. Raises StoreError."""
        ...

    def link(self, key: str, seconds: float) -> Secret:
        """An https address at which whoever has it may read what `put` stored, for so long at most; empty
        where builds have the store as a folder. Raises StoreError."""
        ...

    def delete(self, key: str) -> None:
        """Remove what `put` stored; harmless where it is gone. Raises StoreError."""
        ...

    def sweep(self, older_than: float) -> int:
        """Remove contexts of ours that are older than so many seconds: what a crash left. How many."""
        ...

    def build_pod(self) -> PodPatch:
        """What lets a build's pod read a context."""
        ...
