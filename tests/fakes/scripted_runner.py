"""A Runner whose runs do what a test says, keeping the contract of the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from launch_agent.errors import LaunchError
from launch_agent.runners import WatchHealth
from launch_agent.spec.identity import object_name
from launch_agent.spec.model import RunIdentity, RunRequest, RunState, RunStatus
from launch_agent.telemetry.targets import Usage


@dataclass
class ScriptedRun:
    identity: RunIdentity
    request: RunRequest | None = None
    current: RunStatus = field(default_factory=lambda: RunStatus(state=RunState.RUNNING))
    error: LaunchError | None = None
    bug: Exception | None = None
    log_bug: Exception | None = None
    cancel_error: LaunchError | None = None
    output: str = "epoch 1\n"
    cancelled: int = 0
    released: int = 0
    looks: int = 0
    half: bool = False

    @property
    def id(self) -> str:
        return object_name(self.identity)

    def be(self, state: RunState, **more: object) -> None:
        self.current = RunStatus(state=state, **more)  # type: ignore[arg-type]

    def status(self) -> RunStatus:
        self.looks += 1
        if self.bug is not None:
            raise self.bug
        if self.error is not None:
            raise self.error
        return self.current

    def logs(self, tail: int) -> str:
        if self.log_bug is not None:
            raise self.log_bug
        return "".join(self.output.splitlines(keepends=True)[-tail:])

    def cancel(self) -> None:
        if self.cancel_error is not None:
            raise self.cancel_error
        self.cancelled += 1

    def release(self) -> None:
        self.released += 1

    def resume(self) -> bool:
        return self.half


@dataclass
class ScriptedRunner:
    """`errors` are raised by the next submits, one each."""

    runs: dict[str, ScriptedRun] = field(default_factory=dict)
    errors: list[Exception] = field(default_factory=list)
    env_limit: int = 32_670
    submits: int = 0
    closed: int = 0
    away: LaunchError | None = None
    watches: Sequence[WatchHealth] = ()
    used: Usage = field(default_factory=Usage)

    def verify(self) -> None:
        if self.away is not None:
            raise self.away

    def submit(self, request: RunRequest) -> ScriptedRun:
        self.submits += 1
        if self.errors:
            raise self.errors.pop(0)
        item = request.identity.item_id
        return self.runs.setdefault(item, ScriptedRun(identity=request.identity, request=request))

    def adopt(self, agent: str) -> Sequence[ScriptedRun]:
        return [run for run in self.runs.values() if run.identity.agent == agent]

    def health(self) -> Sequence[WatchHealth]:
        return self.watches

    def usage(self) -> Usage:
        return self.used

    def close(self) -> None:
        self.closed += 1
