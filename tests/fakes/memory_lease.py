"""A Lease in memory that takes writes as the Kubernetes API does: of the present version only."""

from __future__ import annotations

from dataclasses import replace

from launch_agent.clients.kube_lease import Conflict, Record
from launch_agent.errors import LaunchError


class MemoryLease:
    """`away` makes every request fail before it reaches the Lease."""

    place = "wandb/launch-agent"

    def __init__(self) -> None:
        self.record: Record | None = None
        self.away = False
        self.writes = 0
        self._version = 0

    def read(self) -> Record | None:
        self._reach()
        return self.record

    def write(self, record: Record) -> Record:
        self._reach()
        if record.version != (self.record.version if self.record else ""):
            raise Conflict
        self._version += 1
        self.writes += 1
        self.record = replace(record, version=str(self._version))
        return self.record

    def _reach(self) -> None:
        if self.away:
            raise LaunchError("the lease cannot be used: nobody answers", retryable=True)
