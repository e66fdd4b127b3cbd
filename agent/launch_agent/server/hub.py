"""Wakes the requests that wait for something: an item in a queue, an order to an agent.

Lives on the event loop alone, so it needs no lock; only `close` may be called from another thread. A waiter
takes a ticket before it looks into the database; what happens between the look and the wait has a later
ticket and ends the wait at once: no wake-up is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

# Enough to remember every key that a wait could still ask for; a key that fell out wakes nobody too early,
# only a wait that began long before it, and no wait is longer than a minute.
_MOST_KEYS = 10_000


class Hub:
    """Keys are texts that name what is waited for, such as `queue:<id>`."""

    def __init__(self) -> None:
        self._ticket = 0
        self._last: dict[str, int] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_closed = False
        self.waits = 0  # how many wait at present

    def open(self) -> None:
        """To be called on the event loop, before anybody waits."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """End all waits, and every later one at once: the server stops."""

        def wake() -> None:
            self.is_closed = True
            for event in {event for waiting in self._waiting.values() for event in waiting}:
                event.set()

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(wake)

    def ticket(self) -> int:
        """The present moment, to be given to `wait`."""
        return self._ticket

    def notify(self, keys: Iterable[str]) -> None:
        """Wake everyone who waits for one of the keys."""
        for key in keys:
            self._ticket += 1
            self._last.pop(key, None)
            self._last[key] = self._ticket
            for event in self._waiting.get(key, ()):
                event.set()
        while len(self._last) > _MOST_KEYS:
            del self._last[next(iter(self._last))]

    async def wait(self, keys: Iterable[str], since: int) -> None:
        """Return when one of the keys was notified after the ticket `since`."""
        wanted = set(keys)
        if self.is_closed or any(self._last.get(key, 0) > since for key in wanted):
            return
        event = asyncio.Event()
        for key in wanted:
            self._waiting.setdefault(key, set()).add(event)
        self.waits += 1
        try:
            await event.wait()
        finally:
            self.waits -= 1
            for key in wanted:
                waiting = self._waiting[key]
                waiting.discard(event)
                if not waiting:
                    del self._waiting[key]
