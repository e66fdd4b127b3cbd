"""Builds that are under way: equal ones are one, and a build lives for as long as somebody wants its image.

Twenty launches of the same code meet here, and one of them builds. Each build has a thread of its own, since
the launch that began it may be stopped while others go on waiting; who waits for a build does so on the
thread of its launch. The last one to turn away stops the build.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from launch_agent.builders import Builder
from launch_agent.control.patience import Stopped
from launch_agent.errors import LaunchError
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef

_log = logging.getLogger(__name__)
# How often a launch that waits for its image looks whether its user still wants it.
_LOOK_SECONDS = 2.0


@dataclass(slots=True, kw_only=True)
class _Build:
    """One build under way. `waiting` counts the launches that want it, under the lock of all builds."""

    stop: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    waiting: int = 0
    image: ImageRef | None = None
    error: LaunchError | None = None


class Builds:
    """The builds of one agent. Safe to use from several threads."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._lock = threading.Lock()
        self._under_way: dict[str, _Build] = {}

    def image(
        self,
        context: BuildContext,
        ref: ImageRef,
        *,
        log: Callable[[str], None],
        is_stopped: Callable[[], bool],
        release: Callable[[], None],
    ) -> ImageRef:
        """The reference, with its digest, of the image that `context` makes.

        `ref` names the content, so launches with equal references share a build; `log` is called for the one
        that began it. `is_stopped` is asked every two seconds. `release` is called once the context's folder
        is needed no more, which may be after this call. Raises Stopped where it says yes, BuildError
        and its kin where the build fails: to each launch that waited.
        """
        build = self._join(str(ref), context, ref, log, release)
        try:
            while not build.done.wait(_LOOK_SECONDS):
                if is_stopped():
                    raise Stopped
        finally:
            self._leave(str(ref), build)
        if build.image is not None:
            return build.image
        raise _again(build.error)

    def _join(
        self,
        key: str,
        context: BuildContext,
        ref: ImageRef,
        log: Callable[[str], None],
        release: Callable[[], None],
    ) -> _Build:
        with self._lock:
            build = self._under_way.get(key)
            # A build that was given up still ends: it is no build to wait for.
            begins = build is None or build.stop.is_set()
            if build is None or begins:
                build = self._under_way[key] = _Build()
            build.waiting += 1
        if begins:
            threading.Thread(
                target=self._run,
                args=(key, build, context, ref, log, release),
                name=f"build-{ref.tag[:12]}",
                daemon=True,
            ).start()
        else:
            release()
        return build

    def _leave(self, key: str, build: _Build) -> None:
        with self._lock:
            build.waiting -= 1
            if build.waiting == 0 and not build.done.is_set():
                build.stop.set()
                _log.info("nobody waits for image %s any more; its build is stopped", key)

    def _run(
        self,
        key: str,
        build: _Build,
        context: BuildContext,
        ref: ImageRef,
        log: Callable[[str], None],
        release: Callable[[], None],
    ) -> None:
        try:
            build.image = self._builder.build(context, ref, log=log, stop=build.stop)
        except LaunchError as error:
            build.error = error
        finally:
            with self._lock:
                if self._under_way.get(key) is build:
                    del self._under_way[key]
            try:
                release()
            finally:
                build.done.set()


def _again(error: LaunchError | None) -> Exception:
    """The build's error for one more launch: an exception that several threads raise would collect the traces
    of them all."""
    if error is None:
        return RuntimeError("the build met a bug of the agent; the agent's log has the details")
    again = copy.copy(error)
    again.__traceback__ = None
    again.__cause__ = error
    return again
