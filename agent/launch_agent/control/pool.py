"""A bounded pool of daemon threads for launches.

`concurrent.futures` joins its threads when the interpreter ends, so that one image pull that hangs would keep
a stopped agent from exiting; these threads end with the process, and what they had not finished is in the
journal.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class LaunchPool:
    """Runs callables on `size` threads, in the order given. The callables must not raise."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._idle = threading.Condition()
        self._in_flight = 0
        self._threads: list[threading.Thread] = []

    @property
    def in_flight(self) -> int:
        """Launches that were handed over and have not ended, waiting ones included."""
        return self._in_flight

    def submit(self, work: Callable[[], None]) -> None:
        with self._idle:
            self._in_flight += 1
            if self._in_flight > len(self._threads) < self.size:
                thread = threading.Thread(
                    target=self._serve, name=f"launch-{len(self._threads)}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
        self._work.put(work)

    def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing is in flight, for at most `timeout` seconds; says whether that is so."""
        with self._idle:
            return self._idle.wait_for(lambda: self._in_flight == 0, timeout)

    def _serve(self) -> None:
        while True:
            work = self._work.get()
            try:
                work()
            finally:
                with self._idle:
                    self._in_flight -= 1
                    self._idle.notify_all()
