"""One build under way, whatever builds it: its lines, the end of them, and what ends it early."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from launch_agent.errors import BuildError
from launch_agent.telemetry.redact import redact

_TAIL_LINES = 200


class Attempt:
    """`log` is called with each line, `stop` is set once nobody wants the image any more, `timeout` is the
    most seconds that the build may take, counted from now."""

    def __init__(
        self,
        *,
        log: Callable[[str], None],
        stop: threading.Event,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._stop = stop
        self._timeout = timeout
        self._clock = clock
        self._deadline = clock() + timeout
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    @property
    def tail(self) -> str:
        """The last two hundred lines."""
        return "\n".join(self._tail)

    def line(self, text: str) -> None:
        """What a build prints may hold what it was given: a signed address, a credential in a command."""
        shown = redact(text)
        self._tail.append(shown)
        self._log(shown)

    def check(self) -> None:
        """Raise BuildError where the build is to end."""
        if self._stop.is_set():
            raise BuildError("the build was stopped: nobody waits for its image any more")
        if self._clock() > self._deadline:
            raise BuildError(
                f"the build took longer than {self._timeout:g} s",
                hint="builder.build-timeout of the agent's config sets the time",
            )
