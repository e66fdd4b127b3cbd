"""One container: its state, its output, its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from launch_agent.clients.docker_engine import APIError, Engine, NotFound, explain, speaking
from launch_agent.runners.docker.listing import Listing
from launch_agent.runners.docker.stopping import Stopper, note_reported, was_stopped
from launch_agent.runners.exits import status_of
from launch_agent.spec.model import RunIdentity, RunState, RunStatus

# The most that is kept of a log, in bytes: a line may have any length.
LONGEST_LOG = 1_000_000
_MEMORY_HINT = "give the run more memory (resource_args.local-container.memory), or let it use less"


class Host(Protocol):
    """What a run needs of its runner."""

    listing: Listing
    stopper: Stopper
    keep: bool

    def engine(self) -> Engine: ...


class DockerRun:
    """A container that was started, or that an earlier agent has started (`adopted`).

    `since` is the time, by the listing's clock, from which on a listing that lacks the container means that
    it is gone. `end` is set where the end is known already.
    """

    def __init__(
        self,
        host: Host,
        *,
        container: str,
        name: str,
        identity: RunIdentity,
        since: float,
        adopted: bool,
        end: RunStatus | None = None,
    ) -> None:
        self._host = host
        self._container = container
        self._name = name
        self._identity = identity
        self._since = since
        self._adopted = adopted
        self._end = end
        self._cancelled = False
        self._asked = False

    @property
    def id(self) -> str:
        return self._name

    @property
    def identity(self) -> RunIdentity:
        return self._identity

    def status(self) -> RunStatus:
        if self._end is not None:
            return self._end
        begun, found = self._host.listing.read()
        if begun < self._since:
            return self._alive()
        match (found.get(self._container) or {"State": "gone"})["State"]:
            case "created":
                return RunStatus(state=RunState.STARTING)
            case "exited" | "dead" | "gone":
                return self._look()
            case "paused":
                return RunStatus(state=RunState.RUNNING, reason="Paused", message="the container is paused")
            case _:  # running, restarting, removing
                return self._alive()

    def _alive(self) -> RunStatus:
        return RunStatus(state=RunState.STOPPING if self._cancelled else RunState.RUNNING)

    def _look(self) -> RunStatus:
        """The container has ended, says the listing: what became of it?"""
        engine = self._host.engine()
        with speaking(f"inspect container {self._name}"):
            try:
                found = engine.inspect_container(self._container)
                state, limit = found["State"], int(found["HostConfig"].get("Memory") or 0)
            except NotFound:
                state, limit = None, 0
        if state is not None and (state["Running"] or state["Status"] == "created"):
            return self._alive()
        if self._asked or (self._adopted and state is not None and was_stopped(engine, self._container)):
            code = state["ExitCode"] if state else None
            self._end = RunStatus(state=RunState.STOPPED, reason="Stopped", exit_code=code)
        else:
            self._end = end_of(state, memory_limit=limit)
        return self._end

    def logs(self, tail: int) -> str:
        kept: deque[bytes] = deque()
        size = 0
        with speaking(f"read the log of container {self._name}"):
            try:
                for piece in self._host.engine().logs(self._container, stream=True, follow=False, tail=tail):
                    kept.append(piece)
                    size += len(piece)
                    while size - len(kept[0]) >= LONGEST_LOG:
                        size -= len(kept.popleft())
            except NotFound:
                return ""
        return b"".join(kept)[-LONGEST_LOG:].decode(errors="replace")

    def cancel(self) -> None:
        if self._end is not None or self._cancelled:
            return
        self._cancelled = True
        self._host.stopper.stop(self._container, asked=self._note_asked, failed=self._forget_cancel)

    def _note_asked(self) -> None:
        self._asked = True

    def _forget_cancel(self) -> None:
        self._cancelled = False

    def release(self) -> None:
        if self._host.keep:
            note_reported(self._host.engine(), self._container)
        else:
            remove(self._host.engine(), self._container, self._name)


def remove(engine: Engine, container: str, name: str) -> None:
    """Remove a container that does not run, and its nameless volumes."""
    with speaking(f"remove container {name}"):
        try:
            engine.remove_container(container, v=True)
        except NotFound:
            return
        except APIError as error:
            if "already in progress" in explain(error):
                return
            raise


def end_of(state: Mapping[str, Any] | None, *, memory_limit: int = 0) -> RunStatus:
    """The end that the engine's `State` tells; None is a container that is not there. `memory_limit` is the
    container's, in bytes; 0 is none. A busy engine misses that memory ran out, one time in five where eight
    containers did so at once: hence the second guess."""
    if state is None:
        return RunStatus(
            state=RunState.FAILED,
            reason="ContainerGone",
            message="the container was removed by someone else",
            hint="its exit code and output went with it",
        )
    code = int(state["ExitCode"])
    if state.get("OOMKilled"):
        message = "the container was killed: it used more memory than it may"
        return RunStatus(
            state=RunState.FAILED, reason="OOMKilled", message=message, hint=_MEMORY_HINT, exit_code=code
        )
    if state.get("Error"):
        message = f"the container could not run: {state['Error']}"
        return RunStatus(state=RunState.FAILED, reason="ContainerCannotRun", message=message, exit_code=code)
    likely = f"most likely it used more than its {memory_limit >> 20} MiB of memory: {_MEMORY_HINT}"
    return status_of(code, if_killed=likely if memory_limit else "someone killed it, or memory ran out")
