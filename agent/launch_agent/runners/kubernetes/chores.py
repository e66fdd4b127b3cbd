"""What the runner does beside its callers: one thread that works off what is due.

Refreshing pull secrets, keeping the last lines of what has failed, removing what has had its time: nobody
waits for these, and none may hold up a launch or a round of the tracker. A chore that fails is logged and
dropped; one that has to be done says so by putting itself in again.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from launch_agent.errors import LaunchError

_log = logging.getLogger(__name__)


@dataclass(order=True, slots=True)
class _Chore:
    due: float
    number: int
    name: str = field(compare=False)
    action: Callable[[], None] = field(compare=False)
    every: float = field(compare=False, default=0.0)


class Chores:
    """Actions that are due now or later, done one after the other. The thread begins with the first."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heap: list[_Chore] = []
        self._numbers = itertools.count()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, name: str, action: Callable[[], None], *, after: float = 0.0, every: float = 0.0) -> None:
        """Have `action` done in `after` seconds, and again each `every` seconds unless that is 0."""
        with self._news:
            if self._closed:
                return
            number = next(self._numbers)
            heapq.heappush(
                self._heap,
                _Chore(due=self._clock() + after, number=number, name=name, action=action, every=every),
            )
            self._begin()
            self._news.notify()

    def close(self) -> None:
        """No chore begins after this; one that is under way is waited for, as long as a request may take."""
        with self._news:
            self._closed = True
            self._heap.clear()
            self._news.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5.0)

    def _begin(self) -> None:
        if self._thread is None and self._heap and not self._closed:
            self._thread = threading.Thread(target=self._work, name="kubernetes", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            while (chore := self._next()) is not None:
                self._do(chore)
        finally:
            # A bug in one chore ends this thread, with its traceback in the log, and not the others' chances.
            with self._news:
                self._thread = None
                self._begin()

    def _do(self, chore: _Chore) -> None:
        try:
            chore.action()
        except LaunchError as error:
            _log.warning("%s: %s", chore.name, error)
        finally:
            if chore.every:
                self.add(chore.name, chore.action, after=chore.every, every=chore.every)

    def _next(self) -> _Chore | None:
        """The next chore, once it is due; None after the end."""
        with self._news:
            while not self._closed:
                wait = self._heap[0].due - self._clock() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)
                self._news.wait(wait)
        return None
