"""Jobs whose source is a ready container image: nothing to fetch, nothing to build."""

from __future__ import annotations

from launch_agent.errors import SourceError
from launch_agent.spec.image import ImageRef


def ready_image(text: str) -> str:
    """The image that a job names, checked. Raises ImageError, or SourceError where it names none."""
    if not text.strip():
        raise SourceError(
            "the job names no container image",
            hint="submit it with an image, a job, or an image in its queue",
        )
    return str(ImageRef.parse(text))
