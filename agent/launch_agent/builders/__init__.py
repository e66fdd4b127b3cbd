"""What turns code into a container image."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef


class Builder(Protocol):
    """Builds images and puts them where the destination says. Every call to the outside has a timeout."""

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
