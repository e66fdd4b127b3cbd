"""Any registry of no cloud: Docker Hub, GHCR, Quay, Harbor, Artifactory, one's own.

Its credentials are those of a Docker config (`DOCKER_CONFIG`, `~/.docker/config.json`) and of the helper
programs that it names.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from launch_agent.clients.oci.dockerconfig import DockerConfig
from launch_agent.registries import Cloud, pod
from launch_agent.registries.remote import RemoteRegistry
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch


class GenericRegistry(RemoteRegistry):
    """`config` is where credentials are looked for."""

    def __init__(
        self,
        uri: str,
        config: DockerConfig,
        *,
        plain: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        super().__init__(uri, self._look, plain=plain, clock=clock)

    def verify(self) -> None:
        self.check()

    def build_pod(self) -> PodPatch:
        return pod.with_credentials(self.host, self.credentials())

    def _look(self) -> Credentials | None:
        return self._config.credentials(self.host, self._ref.path)


def create(destination: str, environment: Cloud | None, options: Mapping[str, Any]) -> GenericRegistry:
    plain = bool(options.get("plain-http", False))
    return GenericRegistry(destination, DockerConfig(os.environ), plain=plain)
