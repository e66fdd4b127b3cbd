"""Counts what is asked of an API server: how often, how long it took, and how long for a turn."""

from __future__ import annotations

import threading
from collections.abc import Mapping


class Tally:
    """Shared by all connections of a cluster. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str], tuple[int, float]] = {}
        self._throttled = 0.0

    def asked(self, verb: str, code: str, seconds: float) -> None:
        """One request and its answer's status code; `none` where there was no answer."""
        with self._lock:
            count, total = self._requests.get((verb, code), (0, 0.0))
            self._requests[verb, code] = (count + 1, total + seconds)

    def waited(self, seconds: float) -> None:
        with self._lock:
            self._throttled += seconds

    @property
    def requests(self) -> Mapping[tuple[str, str], tuple[int, float]]:
        """(verb, code) -> how many, and the seconds that they took together."""
        with self._lock:
            return dict(self._requests)

    @property
    def throttled(self) -> float:
        """Seconds that requests waited for their turn."""
        return self._throttled
