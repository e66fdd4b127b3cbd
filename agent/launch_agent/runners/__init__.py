"""Where jobs run: what every target resource offers the agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from launch_agent.spec.model import Credentials, RunIdentity, RunRequest, RunStatus
from launch_agent.telemetry.targets import Usage


class Run(Protocol):
    """One run on a target resource. `id` is the object's name there."""

    @property
    def id(self) -> str: ...

    @property
    def identity(self) -> RunIdentity: ...

    def status(self) -> RunStatus:
        """Where the run is. Cheap: runners answer from a snapshot that is at most about a second old, and
        give the very same object where nothing has changed; the tracker then looks no further.

        Raises RunnerError (retryable) where the world cannot be asked; the run itself is then unknown, not
        failed.
        """
        ...

    def logs(self, tail: int) -> str:
        """The last `tail` lines of what the run printed; empty where there is nothing to read."""
        ...

    def cancel(self) -> None:
        """Ask the run to stop and see to it that it does. Returns at once; harmless on a run that ended."""
        ...

    def release(self) -> None:
        """Forget an ended run and remove what it left, as the runner's configuration says."""
        ...


class Runner(Protocol):
    """Starts runs on one target resource. Every call to the outside has a timeout."""

    @property
    def env_limit(self) -> int:
        """How many characters one environment variable's value may have."""
        ...

    def verify(self) -> None:
        """Raise RunnerError with a hint where the resource cannot be reached or used. Changes nothing."""
        ...

    def submit(self, request: RunRequest) -> Run:
        """Start a run. Its name derives from the queue item: one that exists already is adopted, so calling
        twice starts one run. Raises SubmitRejected where the resource refuses, RunnerError otherwise."""
        ...

    def adopt(self, agent: str) -> Sequence[Run]:
        """The runs that an agent of this name started and that are still there, ended ones included; not
        those that were released and are kept for somebody to look at."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchHealth:
    """How well a runner hears from its target resource, for one thing that it watches (`jobs in team-a`).

    `age` is the seconds since it last heard anything, if only that there is no news; `listed` those since it
    last had the whole list, infinite before the first. `error` is why it hears nothing at present.
    """

    name: str
    age: float
    listed: float = float("inf")
    error: str = ""


def usage_of(runner: Runner) -> Usage:
    """What a runner asked of its target resource since it was made; nothing where it does not count.

    A runner that counts does so by a method `usage() -> Usage`, which no runner has to have.
    """
    usage: Callable[[], Usage] = getattr(runner, "usage", Usage)
    return usage()


def health_of(runner: Runner) -> Sequence[WatchHealth]:
    """What a runner that watches its runs, rather than ask for them, says of how well it hears.

    A runner does so by a method `health() -> Sequence[WatchHealth]`, which no runner has to have.
    """
    health: Callable[[], Sequence[WatchHealth]] = getattr(runner, "health", tuple)
    return health()


# What opens an image's registry, asked anew at each call; None where the agent does not know.
Opens = Callable[[str], Callable[[], Credentials | None] | None]


def tell_what_opens(runner: Runner, opens: Opens) -> None:
    """Tell a runner, before it adopts, what opens the images of runs that it may find.

    A runner that keeps credentials fresh takes it by a method `take_opens(opens)`, which no runner has to
    have.
    """
    take: Callable[[Opens], None] = getattr(runner, "take_opens", lambda opens: None)
    take(opens)


def resume(run: Run) -> bool:
    """Whether a run that was found may lack something that its launch did not come to. Then it is to be
    submitted again, which makes that good, and is left alone by its runner until then.

    A runner whose launches can be cut off says so by a method `resume() -> bool` of its runs.
    """
    found: Callable[[], bool] = getattr(run, "resume", lambda: False)
    return found()


def examine(runner: Runner) -> None:
    """Look at more than `verify` does, where the runner has a method `examine() -> None` for it; for people
    who ask, and not at each start. Raises RunnerError; changes nothing."""
    look: Callable[[], None] = getattr(runner, "examine", runner.verify)
    look()
