"""The rows that the store hands out, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# Seconds without a heartbeat after which an agent counts as lost. Agents send one at every tick, but a tick
# may hold a long poll of a minute, and the backend may have been away.
LOST_AFTER = 180.0


# Seconds without a word after which a running run counts as crashed; official clients say something every 30.
CRASHED_AFTER = 300.0


class ItemState(StrEnum):
    """Where an item is. Official clients are told the last three as CLAIMED."""

    PENDING = "PENDING"
    LEASED = "LEASED"
    CLAIMED = "CLAIMED"
    FAILED = "FAILED"
    FINISHED = "FINISHED"
    STOPPED = "STOPPED"
    PREEMPTED = "PREEMPTED"

    @property
    def is_terminal(self) -> bool:
        return self not in (ItemState.PENDING, ItemState.LEASED, ItemState.CLAIMED)


class Prioritization(StrEnum):
    """Whether a queue looks at priorities; the protocol's own words."""

    V0 = "V0"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Whose API key a request came with."""

    id: str
    username: str
    entity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceConfigRow:
    """A queue's configuration. `config` is `{"resource_args": {resource: …}}`; `variables` maps names to
    `{"schema": …, "description": …}`."""

    id: str
    entity: str
    resource: str
    config: Mapping[str, Any]
    variables: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    id: str
    entity: str
    project: str
    name: str
    access: str
    prioritization: Prioritization
    config_id: str | None
    external_links: str
    created_by: str
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRow:
    """A queue item. `spec` is the merged run spec as JSON text; moments are seconds since 1970."""

    seq: int
    id: str
    queue_id: str
    priority: int
    state: ItemState
    spec: str
    author: str
    created_at: float
    leased_at: float | None
    lease_ends_at: float | None
    claimed_at: float | None
    ended_at: float | None
    deliveries: int
    stop_requested: bool
    agent_id: str | None
    run_id: str | None
    run_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteRow:
    """An item's error or warning."""

    kind: str
    message: str
    stage: str
    files: Sequence[str]
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    id: str
    entity: str
    project: str
    name: str
    hostname: str
    version: str
    config: str
    queue_ids: Sequence[str]
    status: str
    stop_polling: bool
    created_at: float
    heartbeat_at: float

    def is_alive(self, now: float) -> bool:
        """Whether the agent did not say that it ended, and was heard of lately."""
        return self.status != "KILLED" and now - self.heartbeat_at < LOST_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run. `initialised` says that a job's own client has reported it; before, it is only what an agent
    claimed an item for. `fields` holds what upsertBucket told, by its own names."""

    id: str
    entity: str
    project: str
    name: str
    state: str
    stopped: bool
    initialised: bool
    exit_code: int | None
    fields: Mapping[str, Any]
    config: str
    summary: str
    user_id: str
    created_at: float
    heartbeat_at: float

    def state_at(self, now: float) -> str:
        """The state as others are told it: who runs and says nothing for minutes has crashed."""
        is_silent = self.initialised and now - self.heartbeat_at > CRASHED_AFTER
        return "crashed" if self.state == "running" and is_silent else self.state


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRow:
    id: str
    entity: str
    name: str
    description: str
    access: str
    created_at: float
