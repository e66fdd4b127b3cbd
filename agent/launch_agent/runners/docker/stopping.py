"""Stops containers: asks with the container's own signal, and kills what is still there after the grace.

One thread does it for all runs, and exists only while there is something to stop, so that `cancel()` returns
at once and an agent with a thousand runs has no thousand threads.

A container's labels cannot change: that a run was stopped, and did not just die, is noted by an empty file
in the container; so is that the end of a container that is kept has been told. An agent that starts anew
finds the notes there, and they go when the container goes. Where the container's file system is read-only
there is no note: such an agent reports the exit code's reason, and tells a kept container's end once more.
"""

from __future__ import annotations

import heapq
import io
import itertools
import logging
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from launch_agent.clients.docker_engine import APIError, Engine, NotFound, speaking
from launch_agent.errors import RunnerError

_log = logging.getLogger(__name__)
# Docker's own default for the time between the first signal and the second.
GRACE_SECONDS = 10.0
_RETRY_SECONDS = 2.0
_CLOSE_SECONDS = 5.0
_TRIES = 15
_STOPPED = ".launch-agent-stopped"
_REPORTED = ".launch-agent-reported"


@dataclass(order=True, slots=True)
class _Step:
    due: float
    order: int
    container: str = field(compare=False)
    act: Callable[[], float | None] = field(compare=False)
    failed: Callable[[], None] = field(compare=False)
    tries: int = field(default=0, compare=False)


class Stopper:
    """Takes containers to stop. `engine` is called on the stopping thread."""

    def __init__(self, engine: Callable[[], Engine], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._steps: list[_Step] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def stop(self, container: str, *, asked: Callable[[], None], failed: Callable[[], None]) -> None:
        """Stop a container by its id. `asked` is called once it is known to run and is about to get the
        signal; `failed` where the engine cannot be brought to do it, so that one may try again."""
        with self._changed:
            if self._closed:
                raise RunnerError("the runner is closed")
            self._push(0.0, container, lambda: self._ask(container, asked, failed), failed)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="docker-stop", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Send the signals that are due and then stop nothing more: a run that does not heed its signal is
        left to the next agent."""
        with self._changed:
            self._closed = True
            self._steps = [step for step in self._steps if step.due <= self._clock()]
            heapq.heapify(self._steps)
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=_CLOSE_SECONDS)

    def _push(
        self,
        delay: float,
        container: str,
        act: Callable[[], float | None],
        failed: Callable[[], None],
        tries: int = 0,
    ) -> None:
        step = _Step(self._clock() + delay, next(self._order), container, act, failed, tries)
        heapq.heappush(self._steps, step)

    def _work(self) -> None:
        while (step := self._next()) is not None:
            try:
                step.act()
            except RunnerError as error:
                self._again(step, error)

    def _next(self) -> _Step | None:
        """The step that is due, waiting for it; None, and the thread is forgotten, where there is none."""
        with self._changed:
            while self._steps:
                wait = self._steps[0].due - self._clock()
                if wait <= 0:
                    return heapq.heappop(self._steps)
                self._changed.wait(wait)
            self._thread = None
            return None

    def _again(self, step: _Step, error: RunnerError) -> None:
        if step.tries >= _TRIES:
            _log.error("container %s was not stopped: %s", step.container[:12], error)
            step.failed()
            return
        with self._changed:
            if not self._closed:
                self._push(_RETRY_SECONDS, step.container, step.act, step.failed, step.tries + 1)

    def _ask(self, container: str, asked: Callable[[], None], failed: Callable[[], None]) -> None:
        engine = self._engine()
        with speaking(f"stop container {container[:12]}"):
            try:
                found = engine.inspect_container(container)
                if found["State"]["Status"] == "created":
                    # It never ran: there is nothing to signal, and nobody will start it.
                    asked()
                    engine.remove_container(container, v=True, force=True)
                    return
                if not found["State"]["Running"]:
                    return
                asked()
                _note(engine, container, _STOPPED)
                engine.kill(container, signal=found["Config"].get("StopSignal") or "SIGTERM")
            except NotFound:
                return
            except APIError as error:
                if not _is_over(error):
                    raise
                return
        grace = found["Config"].get("StopTimeout") or GRACE_SECONDS
        with self._changed:
            if not self._closed:
                self._push(grace, container, lambda: self._kill(container), failed)

    def _kill(self, container: str) -> None:
        with speaking(f"kill container {container[:12]}"):
            try:
                self._engine().kill(container, signal="SIGKILL")
            except NotFound:
                return
            except APIError as error:
                if not _is_over(error):
                    raise


def was_stopped(engine: Engine, container: str) -> bool:
    """Whether an agent, this or an earlier one, has stopped the container."""
    return _has_note(engine, container, _STOPPED)


def note_reported(engine: Engine, container: str) -> None:
    """Note in an ended container that is kept that the backend knows of its end."""
    with speaking(f"mark container {container[:12]} as reported"):
        _note(engine, container, _REPORTED)


def was_reported(engine: Engine, container: str) -> bool:
    """Whether the end of a container that was kept has been told by an agent."""
    return _has_note(engine, container, _REPORTED)


def _has_note(engine: Engine, container: str, name: str) -> bool:
    with speaking(f"look into container {container[:12]}"):
        try:
            stream, _ = engine.get_archive(container, f"/{name}")
        except NotFound:
            return False
        for _ in stream:
            pass
        return True


def _note(engine: Engine, container: str, name: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    try:
        engine.put_archive(container, "/", archive.getvalue())
    except APIError as error:
        _log.debug("container %s takes no note %s: %s", container[:12], name, error)


def _is_over(error: APIError) -> bool:
    """Whether the engine refuses because the container runs no more (409 from `kill`)."""
    return error.response is not None and error.response.status_code == 409
