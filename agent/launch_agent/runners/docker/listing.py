"""What the engine's containers are doing: one request a second, however many runs ask.

Pitfall: a listing that was begun before a container was made does not have it; `Listing.read` tells when the
listing was begun, and who made a container later must not call it gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from launch_agent.clients.docker_engine import Engine, speaking
from launch_agent.errors import RunnerError
from launch_agent.spec.identity import MANAGED_BY, PREFIX

_OURS = f"{MANAGED_BY}=launch-agent"
FRESH_SECONDS = 1.0


class Listing:
    """All containers that agents have made on this engine, by id, at most `fresh` seconds old."""

    def __init__(
        self,
        engine: Callable[[], Engine],
        *,
        fresh: float = FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._fresh = fresh
        self._clock = clock
        self._lock = threading.Lock()
        self._begun = float("-inf")
        self._found: Mapping[str, Mapping[str, Any]] = {}
        self._error: RunnerError | None = None

    def read(self) -> tuple[float, Mapping[str, Mapping[str, Any]]]:
        """When the listing was begun, by the clock, and the containers in the engine's own words.

        Raises RunnerError where the engine does not answer; that too holds for a second, so that a thousand
        runs do not wait for a thousand timeouts.
        """
        with self._lock:
            now = self._clock()
            if now - self._begun >= self._fresh:
                try:
                    self._found, self._error = list_containers(self._engine()), None
                    self._begun = now
                except RunnerError as error:
                    self._error = error
                    self._begun = self._clock()
            if self._error is not None:
                raise RunnerError(self._error.message, hint=self._error.hint, retryable=True) from self._error
            return self._begun, self._found


def list_containers(engine: Engine, agent: str = "") -> Mapping[str, Mapping[str, Any]]:
    """The containers that agents, or the one of that name, have made, ended ones included."""
    labels = [_OURS, *([f"{PREFIX}agent={agent}"] if agent else [])]
    with speaking("list containers"):
        found = engine.containers(all=True, filters={"label": labels})
    return {container["Id"]: container for container in found}
