"""Repeats a launch while its target cannot be reached, until it is, or time, a drain or its user ends that.

An engine that restarts must not fail a queue full of jobs. A launch that waits keeps its slot, so that the
agent takes no more than it can start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from launch_agent.errors import (
    LaunchError,
    QueueError,
    RegistryUnavailable,
    RegistryUnreachable,
    RightMissing,
    SourceError,
)
from launch_agent.queues import QueueClient
from launch_agent.spec.model import Notice, RunIdentity, Stage
from launch_agent.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
# Seconds for which an image's registry may be away. An engine that is away is so for all jobs, and waiting
# loses nothing; a name with a typing error in it would hold a slot for as long as a start may take.
_REGISTRY_PATIENCE = 300.0
# What lies behind a name that a submitter or an administrator wrote: the same holds for a job's code, and for
# rights that nobody may ever give.
_AWAY = (RegistryUnreachable, RegistryUnavailable, RightMissing, SourceError)
T = TypeVar("T")


class Drained(Exception):
    """The agent ends while a launch waits; the journal has it."""


class Stopped(Exception):
    """A user stops a launch that waits."""


class Patience:
    """How long launches wait for their targets. `start_timeout` is seconds, 0 for no limit."""

    def __init__(
        self,
        queues: QueueClient,
        metrics: Metrics,
        *,
        start_timeout: float,
        draining: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        self._queues = queues
        self._metrics = metrics
        self._start_timeout = start_timeout or float("inf")
        self._draining = draining
        self._clock = clock

    def until_reachable(self, attempt: Callable[[], T], identity: RunIdentity) -> T:
        """What `attempt` returns, sooner or later. Raises its error where that is final or lasts too long,
        Drained or Stopped where the wait is cut short."""
        give_up = self._clock() + self._start_timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return attempt()
            except LaunchError as error:
                now = self._clock()
                if isinstance(error, _AWAY):
                    give_up = min(give_up, now + _REGISTRY_PATIENCE)
                if not error.retryable or now > give_up:
                    raise
                _log.warning("item %s cannot be started yet: %s", identity.item_id, error.message)
                if pause == _FIRST_PAUSE:
                    self._warn(identity, error)
            if self._draining.wait(pause):
                raise Drained
            if self.is_stopped(identity):
                raise Stopped
            pause = min(pause * 2, _LONGEST_PAUSE)

    def is_stopped(self, identity: RunIdentity) -> bool:
        """Whether its user has had enough of waiting; a backend that cannot be asked says no."""
        try:
            return bool(self._queues.stop_requested([identity]))
        except QueueError as error:
            self._metrics.backend_error("stop_requested", error)
            return False

    def _warn(self, identity: RunIdentity, error: LaunchError) -> None:
        """Tell the submitter why nothing happens, once a launch."""
        text = f"cannot be started yet, and is tried again: {error.message}"
        notice = Notice(stage=Stage.RUN, message=f"{text} ({error.hint})" if error.hint else text)
        try:
            self._queues.warn(identity, notice)
        except QueueError as failed:
            self._metrics.backend_error("warn", failed)
