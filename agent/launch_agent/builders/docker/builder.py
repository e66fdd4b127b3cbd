"""One build by a Docker engine: the archive goes in, events come out, and a stop ends both.

The engine's own way of building is used (`POST /build`), which every engine has and which needs no program
beside it. An engine stops a build whose client goes away: that is how builds are stopped, and why a build of
an agent that dies leaves nothing but cached layers.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from launch_agent.builders.docker import events
from launch_agent.builders.docker.local import LocalImages
from launch_agent.builders.proxies import discreet
from launch_agent.clients.docker_engine import APIError, Engine, explain, speaking
from launch_agent.errors import BuildError, LaunchError, RunnerError
from launch_agent.registries import Registry
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.secret import Secret
from launch_agent.telemetry.redact import redact

_TAIL_LINES = 200
_STOP_SECONDS = 0.2


class DockerBuilder:
    """Builds with the engine that `engine` connects to. `timeout` is the most seconds of one build;
    `platform` is used where a context names none; `proxies` are build arguments that are part of no image."""

    def __init__(
        self,
        engine: Callable[[], Engine],
        registry: Registry | None,
        *,
        platform: str = "",
        timeout: float,
        proxies: Mapping[str, Secret] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = engine
        self._proxies = proxies or {}
        self._discreet = discreet(self._proxies)
        self._registry = registry
        self._platform = platform
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._local = LocalImages(self.engine)

    def engine(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = self._connect()
            return self._engine

    @property
    def has_mounts(self) -> bool:
        """The engine's own way of building does not know them."""
        return False

    @property
    def repository(self) -> str:
        """The registry's repository, else one that is only this engine's."""
        return self._registry.repository if self._registry else self._local.repository

    def find(self, ref: ImageRef) -> ImageRef | None:
        """Looked for in the registry, or else in the engine."""
        if self._registry is None:
            return self._local.find(ref)
        digest = self._registry.exists(ref)
        return ImageRef(host=ref.host, path=ref.path, tag=ref.tag, digest=digest) if digest else None

    def verify(self) -> None:
        with speaking("reach the Docker engine"):
            self.engine().ping()

    def build(
        self, context: BuildContext, ref: ImageRef, *, log: Callable[[str], None], stop: threading.Event
    ) -> ImageRef:
        tail: deque[str] = deque(maxlen=_TAIL_LINES)

        def line(text: str) -> None:
            text = redact(self._discreet(text))
            tail.append(text)
            log(text)

        try:
            with self._clocked(stop) as watch:
                self._build(context, ref, line, watch)
                return self._push(ref, line, watch)
        except BuildError as error:
            error.log = "\n".join(tail)
            raise
        except RunnerError as error:
            # The engine's client is the runner's too; here it speaks of a build.
            raise BuildError(
                error.message, log="\n".join(tail), hint=error.hint, retryable=error.retryable
            ) from error

    def sweep(self) -> None:
        """Nothing: an engine ends the build of a client that has gone, and what is left is its cache."""

    def close(self) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    def _build(
        self, context: BuildContext, ref: ImageRef, line: Callable[[str], None], watch: _Watch
    ) -> None:
        """Build under the name of the reference, in the engine."""
        if context.pack is None:
            raise BuildError("the build context cannot be packed")
        params = {
            "t": str(ref),
            "dockerfile": context.dockerfile,
            "rm": "1",
            "forcerm": "1",
            "buildargs": json.dumps(
                {name: value.reveal() for name, value in self._proxies.items()} | dict(context.build_args)
            ),
            "labels": json.dumps(dict(context.labels)),
        }
        if platform := context.platform or self._platform:
            params["platform"] = platform
        with watch.stopping(), speaking(f"build {ref}"):
            try:
                stream = self.engine().build_events(context.pack(), params, self._auth())
            except APIError as error:
                raise BuildError(f"the engine refuses the build: {explain(error)}") from error
            with watch.over(stream):
                events.built(stream, line)

    def _push(self, ref: ImageRef, line: Callable[[str], None], watch: _Watch) -> ImageRef:
        if self._registry is None:
            return ref
        found = self._registry.credentials()
        auth = {"username": found.username, "password": found.password.reveal()} if found else {}
        with watch.stopping(), speaking(f"push {ref}"):
            stream = self.engine().push_events(ref.repository, ref.tag, auth)
            with watch.over(stream):
                digest = events.pushed(stream, line, str(ref))
        return ImageRef(host=ref.host, path=ref.path, tag=ref.tag, digest=digest)

    def _auth(self) -> dict[str, Any]:
        """Credentials for base images that lie in the destination's registry."""
        found = self._registry.credentials() if self._registry else None
        if found is None:
            return {}
        return {found.host: {"username": found.username, "password": found.password.reveal()}}

    @contextmanager
    def _clocked(self, stop: threading.Event) -> Iterator[_Watch]:
        watch = _Watch(stop, deadline=self._clock() + self._timeout, clock=self._clock, timeout=self._timeout)
        watch.start()
        try:
            yield watch
        finally:
            watch.end()


class _Watch(threading.Thread):
    """Closes the stream under a build whose time is over or that nobody wants any more, and says which."""

    def __init__(
        self, stop: threading.Event, *, deadline: float, clock: Callable[[], float], timeout: float
    ) -> None:
        super().__init__(name="build-watch", daemon=True)
        self._stop_asked = stop
        self._deadline = deadline
        self._clock = clock
        self._timeout = timeout
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._stream: Any = None
        self._why: LaunchError | None = None

    def run(self) -> None:
        while not self._ended.wait(_STOP_SECONDS):
            if why := self._reason():
                with self._lock:
                    self._why = why
                    if self._stream is not None:
                        self._stream.close()
                return

    def end(self) -> None:
        self._ended.set()

    @contextmanager
    def over(self, stream: Any) -> Iterator[None]:
        with self._lock:
            self._stream = stream
            if self._why is not None:
                raise self._why
        try:
            yield
        finally:
            with self._lock:
                self._stream = None
                stream.close()

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """What a closed stream makes of a build is no error of the engine's: say why it was closed."""
        try:
            yield
        except (LaunchError, ValueError, AttributeError) as error:
            # The last two are what the SDK makes of a response that is closed under it.
            if self._why is not None and error is not self._why:
                raise self._why from error
            raise

    def _reason(self) -> BuildError | None:
        if self._stop_asked.is_set():
            return BuildError("the build was stopped: nobody waits for its image any more")
        if self._clock() > self._deadline:
            return BuildError(
                f"the build took longer than {self._timeout:g} s",
                hint="builder.build-timeout of the agent's config sets the time",
            )
        return None
