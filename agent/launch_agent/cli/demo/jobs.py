"""The jobs of the demo, and how each must end: ten, and two more where images can be built."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TRAINING = "demo-training"
URGENT = "demo-urgent"


class Origin(StrEnum):
    """Where what a job runs comes from."""

    IMAGE = "image"
    FOLDER = "folder"
    GIT = "git"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`script` is what its shell runs; `ends` the state that its queue item must reach, with `reason` in its
    message. `submitted_at` is in seconds from the start of the agent, which negative times come before.
    `stop` has a user stop it while it runs. `forbidden` adds what the agent's policy refuses. Unless `origin`
    is an image, the script is code of which one has to be built."""

    name: str
    queue: str = TRAINING
    script: str
    priority: int | None = None
    ends: str = "FINISHED"
    reason: str = ""
    submitted_at: float = 0.0
    stop: bool = False
    forbidden: bool = False
    origin: Origin = Origin.IMAGE

    @property
    def is_built(self) -> bool:
        return self.origin is not Origin.IMAGE


@dataclass(slots=True, kw_only=True)
class Act:
    """What has become of a job so far. Times are seconds since 1970; 0 means not yet. `reference` is the job
    on the server, where it is code."""

    job: Job
    reference: str = ""
    item_id: str = ""
    state: str = ""
    run: str = ""
    message: str = ""
    created: float = 0.0
    started: float = 0.0
    stop_sent: bool = False

    @property
    def has_ended(self) -> bool:
        return self.state in ("FINISHED", "FAILED", "STOPPED")

    @property
    def is_as_it_must(self) -> bool:
        return self.state == self.job.ends and self.job.reason in self.message


def _training(epochs: int) -> str:
    steps = " ".join(str(number) for number in range(1, epochs + 1))
    return f'for epoch in {steps}; do echo "epoch $epoch of {epochs}"; sleep 0.5; done'


# The urgent ones wait in their queue before the agent comes, the lowest priority at the front. The agent has
# room for three: the lowest is the one that has to wait.
JOBS = (
    Job(name="nightly-report", queue=URGENT, priority=3, submitted_at=-1, script=_training(1)),
    Job(name="evaluate", queue=URGENT, priority=2, submitted_at=-1, script=_training(2)),
    Job(name="hotfix", queue=URGENT, priority=1, submitted_at=-1, script=_training(1)),
    Job(name="incident", queue=URGENT, priority=0, submitted_at=-1, script=_training(1)),
    Job(name="train-small", submitted_at=2.5, script=_training(3)),
    Job(
        name="train-broken",
        submitted_at=3.5,
        script='echo "loading data"; echo "KeyError: no column named label" >&2; exit 3',
        ends="FAILED",
        reason="exit code 3",
    ),
    Job(name="train-forever", submitted_at=4.5, script="echo waiting; sleep 600", ends="STOPPED", stop=True),
    Job(
        name="take-the-host",
        submitted_at=5.5,
        script="echo this must never run",
        ends="FAILED",
        reason="Refused",
        forbidden=True,
    ),
    Job(name="train-medium", submitted_at=6.5, script=_training(4)),
    Job(name="train-large", submitted_at=7.5, script=_training(6)),
)

# Where a Docker engine answers. They come last, so that nothing is built while the others are measured.
CODE_JOBS = (
    Job(name="train-folder", submitted_at=9.0, script=_training(2), origin=Origin.FOLDER),
    Job(name="train-git", submitted_at=10.0, script=_training(2), origin=Origin.GIT),
)
