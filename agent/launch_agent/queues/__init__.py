"""Where jobs come from: the protocol that a queue's backend is spoken to with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from launch_agent.errors import QueueError
from launch_agent.spec.model import Lease, Notice, Outcome, RunIdentity


class AgentStatus(StrEnum):
    """What an agent tells the backend of itself; the backend's own words."""

    POLLING = "POLLING"
    RUNNING = "RUNNING"
    KILLED = "KILLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """How an agent introduces itself. `entity` may be empty: then the API key's own entity is meant.
    `config` is shown in the backend's pages and holds no secret."""

    entity: str
    queues: Sequence[str]
    name: str
    version: str
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What the backend made of a registration."""

    agent_id: str
    entity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """What the backend asks of the agent; `stop`: a user stopped it on its page."""

    stop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Popped:
    """The answer to a pop. `held` says that the backend answered a long poll, so that an empty answer needs
    no pause before the next. `errors` are the queues that could not be read this time, with the reason."""

    leases: Sequence[Lease] = ()
    held: bool = False
    errors: Mapping[str, str] = field(default_factory=dict)


class ItemState(StrEnum):
    """Where a queue item is, as the backend tells it."""

    PENDING = "PENDING"
    LEASED = "LEASED"
    CLAIMED = "CLAIMED"
    FAILED = "FAILED"


class QueueClient(Protocol):
    """Speaks to the backend of the queues.

    Every method may raise QueueUnavailable (try again later), QueueDenied (the key is not accepted) or
    another QueueError. Every request has a timeout. Instances are safe to use from several threads.
    """

    def register(self, registration: Registration) -> Registered:
        """Introduce the agent. Raises QueueError naming every queue that does not exist."""
        ...

    def heartbeat(self, status: AgentStatus) -> Directive:
        """Say that we live, and hear whether we are to stop."""
        ...

    def pop(self, queues: Sequence[str], limit: int, *, wait: float = 0.0) -> Popped:
        """Lease up to `limit` items, looking into the queues in the order given, more than once round while
        they have items. `wait` is how many seconds the backend may hold the request while all are empty."""
        ...

    def ack(self, claims: Sequence[RunIdentity]) -> set[str]:
        """Claim leased items for the runs named. Returns the item ids that are ours now; an item that is
        missing from the answer is lost. Claiming the same item for the same run again succeeds."""
        ...

    def is_claimed(self, claim: RunIdentity) -> bool:
        """Whether the item stands claimed for exactly this run: settles an ack whose answer was lost."""
        ...

    def warn(self, claim: RunIdentity, notice: Notice) -> None:
        """Show a warning beside the item."""
        ...

    def finish(self, claim: RunIdentity, outcome: Outcome) -> None:
        """Report the end of an item. A failure carries its stage, reason, hint and the end of its log.
        Reporting twice is harmless."""
        ...

    def finish_all(self, ends: Sequence[tuple[RunIdentity, Outcome]]) -> Sequence[QueueError | None]:
        """`finish` for many in few requests; for each the error that `finish` would have raised, or None.
        Logs are not sent: ends that have one go by themselves."""
        ...

    def requeue(
        self, claim: RunIdentity, spec: Mapping[str, Any] | None, *, most: int, again: bool = False
    ) -> str | None:
        """Put the job of a claimed item, whose run was preempted, back into its queue; the new item's id.

        The new item has the old one's spec (its sweep, its run id, `_resume_count` raised by one) and its
        priority; the old one ends as preempted. None where the job was put back `most` times already: then
        nothing is changed. `spec` is the lease's, None where it is not known any more; `again` says that an
        earlier attempt, of a process that ended, may have reached the backend.

        QueueUnavailable says that nothing was put back so far and another try is safe. Any other QueueError
        is final: a backend that cannot tell repetitions apart is not asked twice, since two runs under one
        run id are worse than an item that fails with the reason named.
        """
        ...

    def stop_requested(self, runs: Sequence[RunIdentity]) -> set[str]:
        """The item ids among `runs` whose user asked for a stop; one request however many runs there are."""
        ...

    def run_states(self, runs: Sequence[RunIdentity]) -> Mapping[str, str | None]:
        """The backend's state of each run by item id; None where no run has reported itself yet."""
        ...

    def reports_outcomes(self) -> bool:
        """Whether the backend takes every end of an item (ours does), not failures alone (the public one)."""
        ...

    def close(self) -> None:
        """Release connections; a long poll in another thread ends at once with QueueUnavailable."""
        ...
