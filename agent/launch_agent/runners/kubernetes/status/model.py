"""The two values that make a run's status: what its object says, and what its pods and events explain."""

from __future__ import annotations

from dataclasses import dataclass

from launch_agent.spec.model import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Where a run is, by its object (and its pods, for what the object does not tell).

    `reason` is the controller's own word and may be empty, `message` its sentence. `held` says that a
    queueing controller keeps the run back. `kind` is the object's kind. `retries` is the number of failed
    attempts that its spec allows, None where it sets none. `since` is when it came to its end, seconds since
    the epoch, None while it has not or where nobody says.
    """

    state: RunState
    reason: str = ""
    message: str = ""
    hint: str = ""
    exit_code: int | None = None
    held: bool = False
    kind: str = ""
    retries: int | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why a run does not start, goes badly or has failed.

    `reason` is a CamelCase word, stable across releases; `message` is one sentence, `hint` says what to
    change. `fatal` says that waiting does not help: the run is to be ended. `preempted` says that the
    platform took its place away, and that nothing in it went wrong. `since` is when this was first seen,
    seconds since the epoch.
    """

    reason: str
    message: str
    hint: str = ""
    fatal: bool = False
    preempted: bool = False
    exit_code: int | None = None
    since: float | None = None
