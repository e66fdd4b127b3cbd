"""The engine's own images, asked like a registry's: where none is pushed, this is where images are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from launch_agent.clients.docker_engine import Engine, NotFound, speaking
from launch_agent.spec.image import ImageRef

# Under a name that no registry serves: an engine that lacks the image must not look for it on Docker Hub.
REPOSITORY = "launch-agent.local/jobs"


class LocalImages:
    """Images of the engine that `engine` reaches."""

    repository = REPOSITORY

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    def find(self, ref: ImageRef) -> ImageRef | None:
        """The image's reference, which has no digest: that is a registry's. None where it is not there."""
        with speaking(f"look for image {ref}"):
            try:
                engine: Any = self._engine()  # the SDK's stubs leave this one untyped
                engine.inspect_image(str(ref))
            except NotFound:
                return None
        return ref
