"""The agent's configuration as frozen values: one normal form, whatever dialect the file was written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch_agent.config.destination import Destination, Kind
from launch_agent.spec.policy import Policy
from launch_agent.spec.policy.kubernetes_limits import Limits
from launch_agent.spec.policy.sagemaker_limits import SageMakerLimits
from launch_agent.spec.policy.vertex_limits import VertexLimits
from launch_agent.spec.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The cloud whose default credentials are used; `type` is aws, gcp, azure or local. `role` is the ARN of
    a role to assume with them, empty for none."""

    type: str = "local"
    region: str = ""
    project: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """How images are built.

    `type` is empty where the config names none: then docker if an engine answers, else noop. `destination` is
    an image repository without scheme, tag and final slash; `registry` tells whose it is: ecr, gar, acr or
    generic (empty without a destination). `repository` is set in place of `destination` where only the name
    of an ECR repository is known and its address must be asked of AWS. `options` holds the builder's other
    keys as the schema spells them (`build-context-store`); `registry_options` the registry's (`create`)."""

    type: str = ""
    destination: str = ""
    registry: str = ""
    repository: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    registry_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Where /livez, /readyz and /metrics are served. `port` 0 turns them off."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderElection:
    """Which of several agents of one name works. `lease` is `namespace/name`, empty where there is but one;
    `duration` is seconds; `credentials` is the folder of a service account's token."""

    lease: str
    duration: int
    credentials: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSecret:
    """Where launches under way are kept beside the state folder. `name` is `namespace/name`, empty for
    nowhere; `credentials` is the folder of a service account's token."""

    name: str
    credentials: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """How repositories are fetched. `timeout` is seconds. `credentials` is a file in the form of `git
    credential-store`, `ssh_keys` maps hosts to private keys; what is None or empty is the user's own."""

    submodules: bool
    timeout: float
    credentials: Path | None
    ssh_keys: Mapping[str, Path]
    known_hosts: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """`level` is debug, info, warning or error; `format` text or json; `file` empty for standard error."""

    level: str
    format: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Everything the agent needs to know. Durations are seconds. `runner` maps a resource to its options.

    The defaults are the schema's; this class has none of its own (tests/test_schemas.py compares the two).
    """

    name: str
    entity: str
    queues: Sequence[str]
    max_jobs: int
    max_schedulers: int
    max_concurrent_launches: int
    base_url: str
    api_key: Secret = field(repr=False)
    poll_interval: float
    poll_wait: float
    start_timeout: float
    stop_timeout: float
    drain_timeout: float
    ready_after: float
    log_tail: int
    state_dir: Path
    leader_election: LeaderElection
    state_secret: StateSecret
    environment: Environment
    builder: Builder
    runner: Mapping[str, Mapping[str, Any]]
    policy: Policy
    metrics: Metrics
    git: Git
    log: Log
    # What the config file was warned about, to be logged once there is a log.
    warnings: Sequence[str] = ()


def make(
    filled: Mapping[str, Any],
    destination: Destination | None,
    repository: str,
    api_key: Secret,
    registry: Mapping[str, Any] | None = None,
) -> AgentConfig:
    """The config from its normal form with all defaults filled in (see `config.load`). `registry` is the
    older block, of which only the keys in `_REGISTRY_OPTIONS` are still of use."""
    environment = filled["environment"]
    election = filled["leader-election"]
    return AgentConfig(
        name=filled["name"],
        entity=filled.get("entity", ""),
        queues=tuple(filled["queues"]),
        max_jobs=filled["max_jobs"],
        max_schedulers=filled["max_schedulers"],
        max_concurrent_launches=filled["max-concurrent-launches"],
        base_url=filled["base_url"].rstrip("/"),
        api_key=api_key,
        poll_interval=float(filled["poll-interval"]),
        poll_wait=float(filled["poll-wait"]),
        start_timeout=float(filled["start-timeout"]),
        stop_timeout=float(filled["stopped_run_timeout"]),
        drain_timeout=float(filled["drain-timeout"]),
        ready_after=float(filled["ready-after"]),
        log_tail=filled["log-tail"],
        state_dir=Path(filled["state-dir"]),
        leader_election=LeaderElection(
            lease=election.get("lease", ""),
            duration=election["duration"],
            credentials=Path(election["credentials"]),
        ),
        state_secret=StateSecret(
            name=filled["state-secret"].get("name", ""),
            credentials=Path(filled["state-secret"]["credentials"]),
        ),
        environment=Environment(
            type=environment["type"],
            region=environment.get("region", ""),
            project=environment.get("project", ""),
            role=environment.get("role", ""),
        ),
        builder=_builder(filled["builder"], destination, repository, registry or {}),
        runner=filled["runner"],
        policy=_policy(
            filled["policy"],
            secure_mode=filled["secure_mode"],
            own=filled["state-secret"].get("name", "").partition("/")[2],
        ),
        metrics=Metrics(host=filled["metrics"]["host"], port=filled["metrics"]["port"]),
        git=_git(filled["git"]),
        log=Log(**{key: filled["log"][key] for key in ("level", "format", "file")}),
    )


def _builder(
    builder: Mapping[str, Any], destination: Destination | None, repository: str, registry: Mapping[str, Any]
) -> Builder:
    kind = destination.kind.value if destination else Kind.ECR.value if repository else ""
    return Builder(
        type=builder.get("type", ""),
        destination=destination.uri if destination else "",
        registry=kind,
        repository=repository,
        options={key: value for key, value in builder.items() if key not in _BUILDER_FIELDS},
        registry_options={key: registry[key] for key in _REGISTRY_OPTIONS if key in registry},
    )


def _git(git: Mapping[str, Any]) -> Git:
    return Git(
        submodules=git["submodules"],
        timeout=float(git["timeout"]),
        credentials=Path(git["credentials"]) if "credentials" in git else None,
        ssh_keys={host: Path(file) for host, file in git["ssh-keys"].items()},
        known_hosts=Path(git["known-hosts"]) if "known-hosts" in git else None,
    )


def _policy(policy: Mapping[str, Any], *, secure_mode: bool, own: str) -> Policy:
    """`own` is a Secret that the agent keeps other jobs' specs in, empty for none."""
    return Policy(
        allow=policy["allow"],
        secure_mode=secure_mode,
        sweep_schedulers=policy["sweep-schedulers"],
        protected_secrets=(*policy["protected-secrets"], *([own] if own else ())),
        kubernetes=Limits.of(policy["kubernetes"]),
        sagemaker=SageMakerLimits.of(policy["sagemaker"]),
        vertex=VertexLimits.of(policy["vertex"]),
    )


_BUILDER_FIELDS = frozenset({"type", "destination"})
_REGISTRY_OPTIONS = ("create", "plain-http")


def summary(config: AgentConfig) -> dict[str, Any]:
    """What the backend is told about this agent: enough to recognise it by, nothing secret."""
    environment = {
        key: value for key in ("type", "region", "project") if (value := getattr(config.environment, key))
    }
    builder = {key: value for key in ("type", "destination") if (value := getattr(config.builder, key))}
    return {
        "name": config.name,
        "entity": config.entity,
        "queues": list(config.queues),
        "max_jobs": config.max_jobs,
        "max_schedulers": config.max_schedulers,
        "secure_mode": config.policy.secure_mode,
        "environment": environment,
        "builder": builder,
    }
