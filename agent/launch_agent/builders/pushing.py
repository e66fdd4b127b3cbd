"""What a builder answers whose images lie in a registry."""

from __future__ import annotations

from launch_agent.registries import Registry
from launch_agent.spec.image import ImageRef


class Pushing:
    """A builder that pushes to `registry`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def repository(self) -> str:
        return self._registry.repository

    def find(self, ref: ImageRef) -> ImageRef | None:
        digest = self._registry.exists(ref)
        return ImageRef(host=ref.host, path=ref.path, tag=ref.tag, digest=digest) if digest else None
