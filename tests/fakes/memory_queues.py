"""A QueueClient in memory, for tests that pass the time in; it keeps the contract of the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch_agent.errors import QueueError, QueueUnavailable
from launch_agent.queues import AgentStatus, Directive, Popped, Registered, Registration
from launch_agent.spec.model import Lease, Notice, Outcome, RunIdentity


@dataclass
class MemoryQueues:
    """`down` makes every call raise QueueUnavailable; `outcomes` is what `reports_outcomes` answers.

    tests/fakes/test_memory_queues.py holds it to the contract of the real clients."""

    entity: str = "team"
    outcomes: bool = True
    down: bool = False
    closed: bool = False
    waiting: dict[str, list[Lease]] = field(default_factory=dict)
    leased: dict[str, Lease] = field(default_factory=dict)
    claimed: dict[str, str] = field(default_factory=dict)
    finished: list[tuple[str, Outcome]] = field(default_factory=list)
    warnings: list[tuple[str, Notice]] = field(default_factory=list)
    stops: set[str] = field(default_factory=set)
    states: dict[str, str] = field(default_factory=dict)
    statuses: list[AgentStatus] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    directive: Directive = field(default_factory=Directive)
    ack_answers_lost: int = 0
    specs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    successors: dict[str, str] = field(default_factory=dict)

    def push(self, queue: str, item_id: str, **spec: Any) -> None:
        full = {
            "entity": self.entity,
            "project": "p",
            "resource": "local-container",
            "docker": {"docker_image": "img:1"},
        }
        lease = Lease(item_id=item_id, queue=queue, entity=self.entity, spec={**full, **spec})
        self.waiting.setdefault(queue, []).append(lease)

    def register(self, registration: Registration) -> Registered:
        self._called("register")
        missing = [queue for queue in registration.queues if queue not in self.waiting]
        if missing:
            names = ", ".join(f"'{queue}'" for queue in missing)
            raise QueueError(f"no such queue: {names}", hint=f"there are {', '.join(self.waiting)}")
        return Registered(agent_id="agent-1", entity=registration.entity or self.entity)

    def heartbeat(self, status: AgentStatus) -> Directive:
        self._called("heartbeat")
        self.statuses.append(status)
        return self.directive

    def pop(self, queues: Sequence[str], limit: int, *, wait: float = 0.0) -> Popped:
        self._called("pop")
        if self.closed:
            raise QueueUnavailable("the client is closed")
        leases: list[Lease] = []
        while len(leases) < limit:
            round_ = [self.waiting[queue].pop(0) for queue in queues if self.waiting.get(queue)]
            if not round_:
                break
            leases += round_
        for lease in leases[limit:]:
            self.waiting[lease.queue].insert(0, lease)
        taken = tuple(leases[:limit])
        self.leased.update({lease.item_id: lease for lease in taken})
        self.specs.update({lease.item_id: lease.spec for lease in taken})
        return Popped(leases=taken)

    def ack(self, claims: Sequence[RunIdentity]) -> set[str]:
        self._called("ack")
        ours = set()
        for claim in claims:
            if self.leased.pop(claim.item_id, None) is not None:
                self.claimed[claim.item_id] = claim.run_id
            if self.claimed.get(claim.item_id) == claim.run_id:
                ours.add(claim.item_id)
        if self.ack_answers_lost:
            self.ack_answers_lost -= 1
            raise QueueUnavailable("the answer is lost")
        return ours

    def is_claimed(self, claim: RunIdentity) -> bool:
        self._called("is_claimed")
        return self.claimed.get(claim.item_id) == claim.run_id

    def warn(self, claim: RunIdentity, notice: Notice) -> None:
        self._called("warn")
        self.warnings.append((claim.item_id, notice))

    def finish(self, claim: RunIdentity, outcome: Outcome) -> None:
        self._called("finish")
        self.leased.pop(claim.item_id, None)
        self.finished.append((claim.item_id, outcome))

    def finish_all(self, ends: Sequence[tuple[RunIdentity, Outcome]]) -> Sequence[QueueError | None]:
        found: list[QueueError | None] = []
        for claim, outcome in ends:
            try:
                self.finish(claim, outcome)
            except QueueError as error:
                found.append(error)
            else:
                found.append(None)
        return found

    def requeue(
        self, claim: RunIdentity, spec: Mapping[str, Any] | None, *, most: int, again: bool = False
    ) -> str | None:
        self._called("requeue")
        if claim.item_id in self.successors:
            return self.successors[claim.item_id]
        known = spec or self.specs.get(claim.item_id)
        if known is None or claim.item_id not in self.claimed:
            raise QueueError(f"item {claim.item_id} is not claimed")
        resumed = int(known.get("_resume_count") or 0) + 1
        if resumed > most:
            return None
        successor = f"{claim.item_id}-again"
        self.successors[claim.item_id] = successor
        spec = {**known, "run_id": claim.run_id, "_resume_count": resumed}
        lease = Lease(item_id=successor, queue=claim.queue, entity=claim.queue_entity, spec=spec)
        self.waiting.setdefault(claim.queue, []).append(lease)
        return successor

    def stop_requested(self, runs: Sequence[RunIdentity]) -> set[str]:
        self._called("stop_requested")
        return self.stops & {run.item_id for run in runs}

    def run_states(self, runs: Sequence[RunIdentity]) -> Mapping[str, str | None]:
        self._called("run_states")
        return {run.item_id: self.states.get(run.item_id) for run in runs}

    def reports_outcomes(self) -> bool:
        return self.outcomes

    def close(self) -> None:
        self.calls.append("close")
        self.closed = True

    def expire_leases(self) -> None:
        """What was not acked goes back to the head of its queue."""
        for lease in reversed(self.leased.values()):
            self.waiting[lease.queue].insert(0, lease)
        self.leased.clear()

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.down:
            raise QueueUnavailable("the backend is down")
