"""What the live custom jobs of an agent are doing: a few requests a minute, however many there are.

The API lists a hundred jobs a page and cannot tell what changed since a time, so rounds get rarer as pages
get more: about ten requests a minute at most. A job that is missing from a round has ended, or is gone, and
is asked for by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from launch_agent.errors import RunnerError
from launch_agent.runners.vertex.request import AGENT_LABEL
from launch_agent.runners.vertex.service import Service
from launch_agent.runners.vertex.states import LIVE, PREFIX

ROUND_SECONDS = 10.0
_SECONDS_A_PAGE = 6.0
_FIELDS = "name,state"


class Listing:
    """The live jobs of an agent, by name. `fresh` is how old the listing may be in seconds."""

    def __init__(
        self,
        service: Service,
        key: str,
        *,
        fresh: float = ROUND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._key = key
        self._fresh = self._interval = fresh
        self._clock = clock
        self._lock = threading.Lock()
        self._begun = float("-inf")
        self._jobs: Mapping[str, Mapping[str, Any]] = {}
        self._error: RunnerError | None = None

    def read(self) -> tuple[float, Mapping[str, Mapping[str, Any]]]:
        """When the listing was begun, by the clock, and the jobs. A job that was created later is missing
        without being gone. Raises RunnerError, for a round too, while the API cannot be asked."""
        with self._lock:
            now = self._clock()
            if now - self._begun >= self._interval:
                self._begun = now
                try:
                    self._jobs, pages = self._round()
                    self._error = None
                    self._interval = max(self._fresh, pages * _SECONDS_A_PAGE if pages > 1 else 0.0)
                except RunnerError as error:
                    self._error = error
            if self._error is not None:
                raise RunnerError(self._error.message, hint=self._error.hint, retryable=True) from self._error
            return self._begun, self._jobs

    def _round(self) -> tuple[dict[str, Mapping[str, Any]], int]:
        found: dict[str, Mapping[str, Any]] = {}
        pages = 1
        for page, job in self._service.find("list custom jobs", live(self._key), fields=_FIELDS):
            found[job["name"]] = job
            pages = page
        return found, pages


def live(key: str) -> str:
    """The filter for an agent's jobs that have not ended."""
    states = " OR ".join(f'state="{PREFIX}{word}"' for word in LIVE)
    return f'labels.{AGENT_LABEL}="{key}" AND ({states})'
