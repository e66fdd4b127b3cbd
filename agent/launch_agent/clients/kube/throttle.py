"""A token bucket: how often a client may ask, for all threads that share it.

Tickets are handed out in the order of asking, each with the moment at which it becomes good, so nobody is
overtaken and no thread of its own is needed. Who cannot be served before the deadline gets no ticket.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class TooBusy(Exception):
    """No ticket becomes good before the deadline. `wait` is how many seconds it would have taken."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"{wait:.1f} s")
        self.wait = wait


class Throttle:
    """`qps` tickets per second over a longer time, `burst` at once after a quiet time."""

    def __init__(self, qps: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / qps
        self._slack = (max(burst, 1) - 1) / qps
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock()
        self._held = self._next

    def take(self, within: float, cancelled: threading.Event) -> bool:
        """Wait for a ticket; False where `cancelled` was set meanwhile. Raises TooBusy where that would
        take longer than `within` seconds."""
        wait = self.reserve(within)
        return not (cancelled.wait(wait) if wait > 0 else cancelled.is_set())

    def reserve(self, within: float) -> float:
        """Take a ticket and say in how many seconds it is good."""
        with self._lock:
            now = self._clock()
            due = max(self._next, now)
            wait = max(due - self._slack, self._held) - now
            if wait > within:
                raise TooBusy(wait)
            self._next = due + self._interval
        return max(wait, 0.0)

    def hold(self, seconds: float) -> None:
        """The server wants to be left alone: hand out nothing that is good before then."""
        with self._lock:
            now = self._clock()
            self._held = max(self._held, now + seconds)
            # What was saved up is not let loose on a server that is busy.
            self._next = max(self._next, self._held + self._slack)
