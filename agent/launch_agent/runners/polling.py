"""A thread that follows jobs of a service which has no way to tell of changes by itself.

The tracker looks at all runs twice a second and must not wait for a cloud that is slow to answer: what runs
are doing is asked in here, and a run's status is what was heard last.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable


class Poller:
    """Calls `work` in a thread of its own from the first `start` on until `close`. `work` does what is due
    and returns for how many seconds nothing else is, infinite where there is nothing to do."""

    def __init__(self, work: Callable[[], float], *, name: str) -> None:
        self._work = work
        self._name = name
        self._woken = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, where it has not begun; a thread that an error ended begins anew."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._closed.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Have `work` called at once: there is something new to do."""
        self._woken.set()

    def close(self, within: float = 5.0) -> None:
        """End the thread; one that waits for an answer is left to end by itself after `within` seconds."""
        with self._lock:
            self._closed.set()
        self._woken.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(within)

    def _run(self) -> None:
        while not self._closed.is_set():
            pause = self._work()
            self._woken.wait(None if math.isinf(pause) else max(0.0, pause))
            self._woken.clear()
