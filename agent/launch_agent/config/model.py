"""The agent's configuration as frozen values: one normal form, whatever dialect the file was written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch_agent.spec.policy import Policy
from launch_agent.spec.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The cloud whose default credentials are used; `type` is aws, gcp, azure or local."""

    type: str = "local"
    region: str = ""
    project: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """How images are built.

    `type` is empty where the config names none: then docker if an engine answers, else noop. `destination` is
    an image repository without scheme, tag and final slash; `registry` tells whose it is: ecr, gar, acr or
    generic."""

    type: str = ""
    destination: str = ""
    registry: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Where /livez, /readyz and /metrics are served. `port` 0 turns them off."""

    host: str
    port: int


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
    environment: Environment
    builder: Builder
    runner: Mapping[str, Mapping[str, Any]]
    policy: Policy
    metrics: Metrics
    log: Log
