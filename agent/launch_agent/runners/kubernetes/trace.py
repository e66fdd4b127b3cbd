"""What is known of one run: its object, its pods, and what became of those that are gone.

Informers write it in their threads, a run's `status` reads it: whoever changes or reads more than one field
holds the lock of `Watching`. What has been deleted is kept as it was last seen, for a time to live of zero
takes a Job and its pods away in the moment in which they have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from launch_agent.clients.kube.objects import Resource
from launch_agent.runners.kubernetes.facts import Condition, PodFacts, WorkloadFacts

# Of a run whose pods come and go, so many of those that are gone are kept.
_MOST_LOST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A run at one moment. `there` is whether the object still is; `facts` are its last ones. `lost` are pods
    that were deleted, as they were before."""

    facts: WorkloadFacts
    there: bool
    pods: Sequence[PodFacts]
    lost: Sequence[PodFacts]


@dataclass(slots=True, kw_only=True)
class Trace:
    """The memory of one run. `version` changes with everything else, so that a status can be kept until
    there is news. `seen` is whether an informer has had the object: before, its absence means nothing.
    `quota` is what Kueue says of it."""

    resource: Resource
    facts: WorkloadFacts
    there: bool = True
    seen: bool = False
    version: int = 0
    pods: dict[str, PodFacts] = field(default_factory=dict)
    lost: dict[str, PodFacts] = field(default_factory=dict)
    quota: tuple[Condition, ...] = ()

    @property
    def item(self) -> str:
        return self.facts.item_key

    @property
    def place(self) -> tuple[str, str, str]:
        """Kind with its group, namespace and name."""
        return self.resource.key, self.facts.namespace, self.facts.name

    def view(self) -> View:
        known = self.facts
        if self.quota:
            # The object's own are of the same words where it knows of quotas itself (AppWrapper).
            known = replace(known, conditions=(*known.conditions, *self.quota))
        return View(
            facts=known,
            there=self.there,
            pods=tuple(self.pods.values()),
            lost=tuple(self.lost.values()),
        )

    def object_is(self, facts: WorkloadFacts | None) -> None:
        """The informer's word about the object. One of another uid is another object of the same name."""
        if facts is not None and facts.uid == self.facts.uid:
            self.facts, self.there, self.seen = facts, True, True
        elif self.seen:
            self.there = False
        self.version += 1

    def replaced(self) -> None:
        """The object's name is another's by now."""
        self.there = False
        self.version += 1

    def quota_is(self, conditions: tuple[Condition, ...]) -> None:
        """Kueue's word about the run's quota."""
        if conditions != self.quota:
            self.quota = conditions
            self.version += 1

    def pod_is(self, name: str, pod: PodFacts | None, now: float) -> None:
        """The informer's word about one of the pods. `now` is seconds since the epoch."""
        before = self.pods.pop(name, None)
        if pod is not None:
            self.pods[name] = pod
            self.lost.pop(name, None)
        elif before is not None:
            self.lost[name] = replace(before, deleted=before.deleted or now)
            while len(self.lost) > _MOST_LOST:
                del self.lost[next(iter(self.lost))]
        self.version += 1
