"""Starts runs as containers of a Docker engine, and finds those of an earlier agent again.

Two requests start a run: create and start. A crash between the two leaves a container that never ran; its
labels say whose it is, so whoever meets it, `submit` by its name or `adopt` by its labels, starts it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from launch_agent.clients.docker_engine import (
    PULL_SILENCE,
    APIError,
    Engine,
    NotFound,
    connect,
    explain,
    speaking,
)
from launch_agent.errors import ContainerCannotRun, ImageError, ImageNotFound, RunnerError, SubmitRejected
from launch_agent.runners.docker.arguments import Arguments, parse
from launch_agent.runners.docker.creation import BRINGS_CODE, CODE_VOLUME, Creation, base_url_is_local, make
from launch_agent.runners.docker.listing import Listing, list_containers
from launch_agent.runners.docker.pull import Puller
from launch_agent.runners.docker.run import DockerRun, remove
from launch_agent.runners.docker.stopping import Stopper, was_reported
from launch_agent.spec import identity
from launch_agent.spec.code import WORKDIR
from launch_agent.spec.model import RunIdentity, RunRequest, RunState, RunStatus

# An engine gives a name away some time before it can tell whose it is, and the other way round.
_NAME_SECONDS = 30.0
_NAME_PAUSE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`runner.local-container` of the config. `pull_timeout` is seconds; `network` empty is the engine's."""

    host: str
    pull: str
    pull_timeout: float
    keep: bool
    network: str


class DockerRunner:
    """The target resource `local-container`. The engine is connected to when it is first needed."""

    def __init__(self, options: Options, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._pulls: Engine | None = None
        self._desktop: bool | None = None
        self._puller = Puller(self._pull_engine, timeout=options.pull_timeout)
        self.keep = options.keep
        self.listing = Listing(self.engine, clock=clock)
        self.stopper = Stopper(self.engine)

    @property
    def env_limit(self) -> int:
        """32,670, as today's agent has it, keeps even four bytes a character below the 128 KiB that Linux
        allows one variable (MAX_ARG_STRLEN)."""
        return 32_670

    def engine(self) -> Engine:
        """The engine, connected once. Raises RunnerError where none answers."""
        with self._lock:
            if self._engine is None:
                self._engine = connect(self._options.host)
            return self._engine

    def verify(self) -> None:
        engine = self.engine()
        with speaking("talk to the Docker engine", engine.address):
            engine.ping()

    def submit(self, request: RunRequest) -> DockerRun:
        arguments = parse(request.resource_args)
        creation = make(
            request, arguments, network=self._options.network, desktop=self._is_desktop(request, arguments)
        )
        pull = arguments.pull or self._options.pull
        deadline = self._clock() + _NAME_SECONDS
        while True:
            container = self._create(request, creation, pull)
            if container is not None:
                self._put_code(container, creation, request)
                self._start(container, creation.name)
                return self._run(container, creation.name, request.identity, adopted=False)
            if (run := self._join(request, creation)) is not None:
                return run
            if self._clock() > deadline:
                raise RunnerError(
                    f"the Docker engine says of {creation.name!r} both that it exists and that it does not",
                    retryable=True,
                )
            time.sleep(_NAME_PAUSE)

    def adopt(self, agent: str) -> Sequence[DockerRun]:
        runs = []
        for container, summary in list_containers(self.engine(), agent).items():
            whose = identity.from_labels(summary["Labels"])
            if whose is None:
                continue
            name = summary["Names"][0].lstrip("/") if summary["Names"] else container[:12]
            if summary["State"] == "created" and summary["Labels"].get(BRINGS_CODE):
                # Its code may not be in it. Nothing of it has run: it is launched anew.
                remove(self.engine(), container, name)
                continue
            if summary["State"] in ("exited", "dead") and was_reported(self.engine(), container):
                continue  # kept for its user to look at
            end = self._start_late(container, name) if summary["State"] == "created" else None
            runs.append(self._run(container, name, whose, adopted=True, end=end))
        return runs

    def close(self) -> None:
        self.stopper.close()
        with self._lock:
            for engine in (self._engine, self._pulls):
                if engine is not None:
                    engine.close()
            self._engine = self._pulls = None

    def _pull_engine(self) -> Engine:
        """A connection of its own for pulls, which are silent for longer than other calls."""
        with self._lock:
            if self._pulls is None:
                self._pulls = connect(
                    self._options.host, silence=min(PULL_SILENCE, self._options.pull_timeout)
                )
            return self._pulls

    def _is_desktop(self, request: RunRequest, arguments: Arguments) -> bool:
        """Asked only where it matters: where the run's network is to be chosen by us."""
        if arguments.host.get("NetworkMode") or self._options.network or not base_url_is_local(request):
            return False
        if self._desktop is None:
            with speaking("ask the Docker engine what it is"):
                self._desktop = "Docker Desktop" in str(self.engine().info().get("OperatingSystem"))
        return self._desktop

    def _create(self, request: RunRequest, creation: Creation, pull: str) -> str | None:
        """The new container's id; None where its name is taken. Pulls the image as `pull` says."""
        platform = creation.platform
        try:
            if pull == "always":
                self._puller.pull(request.image, platform=platform)
            try:
                return self._create_once(creation)
            except ImageNotFound:
                if pull != "missing":
                    raise
            self._puller.pull(request.image, platform=platform, needed=lambda: not self._has(creation))
            return self._create_once(creation)
        except ImageError as error:
            raise SubmitRejected(f"cannot start the run: {error.message}", hint=error.hint) from error

    def _create_once(self, creation: Creation) -> str | None:
        with speaking(f"create container {creation.name}"):
            try:
                made = self.engine().create_container_from_config(  # type: ignore[no-untyped-call]  # its stubs
                    dict(creation.body), creation.name, creation.platform or None
                )
            except APIError as error:
                if not _name_is_taken(creation, error):
                    raise
                return None
        return str(made["Id"])

    def _has(self, creation: Creation) -> bool:
        """Whether the engine has the image by now, because another run has pulled it meanwhile."""
        with speaking(f"look for image {creation.body['Image']}"):
            try:
                found = self.engine().inspect_image(creation.body["Image"])  # type: ignore[no-untyped-call]  # its stubs
            except NotFound:
                return False
        wanted = creation.platform
        return not wanted or wanted == f"{found.get('Os')}/{found.get('Architecture')}"

    def _join(self, request: RunRequest, creation: Creation) -> DockerRun | None:
        """The name is taken: by an earlier try of the same queue item, or by something else. None where the
        container is not there (yet, or any more)."""
        with speaking(f"inspect container {creation.name}"):
            try:
                found = self.engine().inspect_container(creation.name)
            except NotFound:
                return None
        whose = identity.from_labels(found["Config"]["Labels"] or {})
        wanted = request.identity
        if whose is None or (whose.item_id, whose.queue_entity) != (wanted.item_id, wanted.queue_entity):
            raise SubmitRejected(
                f"there is already a container named {creation.name!r}, and it is not this job's",
                hint="let the agent choose the name, or use a macro such as ${run_id} in it",
            )
        if found["State"]["Status"] == "created":
            self._put_code(found["Id"], creation, request)
            self._start(found["Id"], creation.name)
        return self._run(found["Id"], creation.name, whose, adopted=True)

    def _put_code(self, container: str, creation: Creation, request: RunRequest) -> None:
        """Copy the job's code into a container that has not started; one without it is removed."""
        if request.code is None or request.code.pack is None:
            return
        # Nothing can be put at the root of a file system that is read-only; its volume is there already.
        root = CODE_VOLUME if creation.is_read_only else "/"
        below = str(PurePosixPath(WORKDIR).relative_to(root))
        done = False
        try:
            with speaking(f"copy the job's code into container {creation.name}"):
                self.engine().put_archive(container, root, request.code.pack(below))
            done = True
        finally:
            if not done:
                remove(self.engine(), container, creation.name)

    def _start(self, container: str, name: str) -> None:
        """Start a container that was made; one that cannot start is removed, for nobody could use it."""
        with speaking(f"start container {name}"):
            try:
                self.engine().start(container)
            except APIError as error:
                refusal = _not_started(name, explain(error))
                remove(self.engine(), container, name)
                raise refusal from error

    def _start_late(self, container: str, name: str) -> RunStatus | None:
        """Start what a crash left unstarted; its end where it cannot start."""
        try:
            self._start(container, name)
        except SubmitRejected as error:
            return RunStatus(
                state=RunState.FAILED, reason=type(error).__name__, message=error.message, hint=error.hint
            )
        return None

    def _run(
        self, container: str, name: str, whose: RunIdentity, *, adopted: bool, end: RunStatus | None = None
    ) -> DockerRun:
        return DockerRun(
            self,
            container=container,
            name=name,
            identity=whose,
            since=self._clock(),
            adopted=adopted,
            end=end,
        )


def _name_is_taken(creation: Creation, error: APIError) -> bool:
    """Whether the create request failed for that; raises what it means where the request itself is bad."""
    status = error.response.status_code if error.response is not None else 0
    said = explain(error)
    if status == 409 and "name" in said.lower():
        return True
    if status == 404 and "image" in said.lower():
        raise ImageNotFound(
            f"the engine has no image {creation.body['Image']}, and pulling is off: {said}",
            hint="pull the image ahead, or set runner.local-container.pull to missing",
        ) from error
    if 400 <= status < 500:
        raise SubmitRejected(f"the Docker engine refuses container {creation.name}: {said}") from error
    return False


def _not_started(name: str, said: str) -> RunnerError:
    if "could not select device driver" in said:
        hint = "the engine finds no GPU runtime; install the NVIDIA Container Toolkit, or drop `gpus`"
        return SubmitRejected(f"container {name} cannot start: {said}", hint=hint)
    if "exec:" in said or "exec format error" in said or "executable file not found" in said:
        hint = "is the entry point a program of the image?"
        return ContainerCannotRun(f"container {name} cannot start: {said}", hint=hint)
    return SubmitRejected(f"container {name} cannot start: {said}")


def options_from(options: Mapping[str, Any]) -> Options:
    """The config's part as values. The config is validated by its schema, which has the same defaults."""
    return Options(
        host=options.get("host", ""),
        pull=options.get("pull", "missing"),
        pull_timeout=float(options.get("pull-timeout", 1800)),
        keep=bool(options.get("keep", False)),
        network=options.get("network", ""),
    )
