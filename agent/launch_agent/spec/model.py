"""The nouns that travel from the queue to the runner and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from launch_agent.spec.code import Code
from launch_agent.spec.secret import Secret


class RunState(StrEnum):
    """Where a run is, in one vocabulary for every target resource."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    PREEMPTED = "preempted"

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL

    @property
    def has_started(self) -> bool:
        """Whether the start timeout no longer applies."""
        return self not in (RunState.PENDING, RunState.STARTING)


_TERMINAL = frozenset({RunState.FINISHED, RunState.FAILED, RunState.STOPPED, RunState.PREEMPTED})


class Stage(StrEnum):
    """Where in a job's way something went wrong; the backend's own three words."""

    AGENT = "agent"
    BUILD = "build"
    RUN = "run"


class Resource(StrEnum):
    """The kinds of target resource that a queue can point to."""

    LOCAL_CONTAINER = "local-container"
    LOCAL_PROCESS = "local-process"
    KUBERNETES = "kubernetes"
    SAGEMAKER = "sagemaker"
    VERTEX = "vertex"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """What a runner knows of a run. `reason` is one CamelCase word (`OOMKilled`), stable across releases;
    `message` is a sentence, `hint` says what to change. `exit_code` is None until the run has ended, and
    where the platform does not tell it. `held` says that a queueing controller keeps the run back (a quota,
    a suspended job): that time does not count against the start timeout."""

    state: RunState
    reason: str = ""
    message: str = ""
    hint: str = ""
    exit_code: int | None = None
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job did not come to a good end. `log` is the text uploaded as error.log."""

    stage: Stage
    reason: str
    message: str
    hint: str = ""
    log: str = ""

    def __str__(self) -> str:
        text = f"{self.reason}: {self.message}" if self.reason else self.message
        return f"{text} ({self.hint})" if self.hint else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a queue item: a terminal state, and a failure exactly where the state is `failed`."""

    state: RunState
    failure: Failure | None = None

    def __post_init__(self) -> None:
        if not self.state.is_terminal:
            raise ValueError(f"{self.state} is not an end")
        if (self.failure is not None) != (self.state is RunState.FAILED):
            raise ValueError("a failure belongs to the state 'failed', and to it alone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A warning that is shown beside a queue item while its run goes on."""

    stage: Stage
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A queue item that the backend has lent us. `entity` owns the queue; `spec` is the run spec as it came
    over the wire, not yet validated. Not acked within about a minute, it goes back to its queue."""

    item_id: str
    queue: str
    entity: str
    spec: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """Everything that ties an object on a target resource to its queue item. It is written on the object
    as labels, so that an agent that starts anew can read it back (see `spec.identity`). `kind` is `job`, or
    `sweep-scheduler` for the process that feeds a sweep, which does not count against `max_jobs`."""

    agent: str
    item_id: str
    queue: str
    queue_entity: str
    run_id: str
    entity: str
    project: str
    kind: str = "job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the submitter changes for this one job. Empty means: as the job says."""

    entry_point: Sequence[str] = ()
    args: Sequence[str] = ()
    run_config: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    dockerfile: str = ""
    working_dir: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """A validated run spec: what the submitter wants over the queue's configuration, merged by the backend.

    One of `image`, `job` and `scheduler` is set, or none where a process's entry point is all there is.
    `resource` is a name as the spec gave it (`gcp-vertex` becomes `vertex`), `resource_args` is that
    resource's own part of the spec without its `builder` key, which `builder` holds; a scheduler has none.
    `user_id` is the number of the user that an image built for the job runs as; None leaves it to us.
    `api_key` is set where the submitter's own key travels with the job. `services` are the spec's
    `additional_services`: Kubernetes objects that accompany the run.
    """

    entity: str
    project: str
    resource: str
    resource_args: Mapping[str, Any] = field(default_factory=dict)
    builder: Mapping[str, Any] = field(default_factory=dict)
    image: str = ""
    job: str = ""
    scheduler: bool = False
    name: str = ""
    run_id: str = ""
    author: str = ""
    sweep_id: str = ""
    resume_count: int = 0
    user_id: int | None = None
    overrides: Overrides = field(default_factory=Overrides)
    api_key: Secret = field(default_factory=lambda: Secret(""))
    services: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What opens a container registry. `host` is the registry's, with its port; `expires` is seconds since
    the epoch, None for what does not expire by itself."""

    host: str
    username: str
    password: Secret
    expires: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What a runner is asked to start.

    `entry_point` and `args` are empty where the image's own are to be used. `env` holds what anybody may
    see, `secret_env` what must be handed over by the safest way that the platform has. `resource_args` has
    its macros filled. `image` is empty for processes. `pull_credentials` asks anew at each call for what
    opens the image's registry, where the agent is the one to know; None where the target helps itself.
    `services` are the spec's `additional_services`, macros filled: `{name, config: a Kubernetes object}`.
    `authorities` is `name/key` of a ConfigMap beside the run that holds whom it shall trust (`spec.passon`).
    `code` is what the image does not hold of a job that runs without a build; runners that cannot put it
    there are never given any.
    """

    identity: RunIdentity
    image: str
    entry_point: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, Secret] = field(default_factory=dict)
    resource_args: Mapping[str, Any] = field(default_factory=dict)
    working_dir: str = ""
    pull_credentials: Callable[[], Credentials | None] | None = None
    services: Sequence[Mapping[str, Any]] = ()
    authorities: str = ""
    code: Code | None = None
