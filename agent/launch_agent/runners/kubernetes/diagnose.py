"""Explains why a run does not start, goes badly or has failed, from its pods and the events about them.

    the run has failed      was it taken away?          diagnosis.disruption
                            which container, and how?   diagnosis.ended
                            or never got so far         as below
    it goes on              no pod can be created       diagnosis.creation
                            no node takes the pod       diagnosis.scheduling
                            volumes, network            diagnosis.volumes
                            image, configuration, start diagnosis.waiting, diagnosis.images

What runs is never ended by a diagnosis: then it is a warning. And what the platform took away is PREEMPTED,
unless the run itself had failed first.

A pod whose node is lost stays for ever in what it did last, and its Job waits for it: once it is overdue, it
counts as gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from launch_agent.runners.kubernetes.diagnosis import (
    creation,
    disruption,
    ended,
    scheduling,
    volumes,
    waiting,
)
from launch_agent.runners.kubernetes.diagnosis.finding import NEVER, Finding
from launch_agent.runners.kubernetes.facts import EventFacts, PodFacts
from launch_agent.runners.kubernetes.status.model import Diagnosis, Observed
from launch_agent.spec.model import RunState

# Seconds after its grace period within which every kubelet that works has ended a pod.
_OVERDUE = 60.0
# Reasons that may follow one another while the trouble is the same, for `since`. Others stand for themselves.
_FAMILIES = {
    "ImageDenied": "image",
    "ImageNotFound": "image",
    "ImagePlatformMismatch": "image",
    "ImagePullError": "image",
    "RegistryLimit": "image",
    "RegistryUnreachable": "image",
    "NodeDiskFull": "image",
}


def explain(
    observed: Observed,
    pods: Sequence[PodFacts],
    events: Sequence[EventFacts],
    now: float,
    earlier: Diagnosis | None = None,
) -> Diagnosis | None:
    """What is wrong with a run; None where nothing is known to be.

    `pods` are those of the run, also those that were there last and are gone by now; `events` are those about
    the run's object, what it owns, and its pods; both may be incomplete. `now` is seconds since the epoch.
    `earlier` is what the last call for this run returned: it tells since when something is so.
    """
    if observed.held or observed.state in (RunState.FINISHED, RunState.STOPPED):
        return None
    if observed.state.is_terminal:
        found = _end(observed, pods, events, now)
        return _weighed(found, now, earlier, may_end=False) if found else None
    if lost := _overdue(pods, now):
        return _weighed(lost, now, earlier, may_end=True)
    troubles = list(_troubles(pods, events))
    if not troubles or observed.state is RunState.STOPPING:
        return None
    runs = any(pod.is_running for pod in pods)
    return _weighed(min(troubles, key=lambda one: one.patience), now, earlier, may_end=not runs)


def _weighed(found: Finding, now: float, earlier: Diagnosis | None, *, may_end: bool) -> Diagnosis:
    since = now if found.since is None else min(found.since, now)
    if earlier is not None and earlier.since is not None and _family(earlier.reason) == _family(found.reason):
        since = min(since, earlier.since)
    return Diagnosis(
        reason=found.reason,
        message=found.message,
        hint=found.hint,
        fatal=may_end and now - since >= found.patience,
        preempted=found.preempted,
        exit_code=found.exit_code,
        since=since,
    )


def _family(reason: str) -> str:
    return _FAMILIES.get(reason, reason)


def _overdue(pods: Sequence[PodFacts], now: float) -> Finding | None:
    """That all pods that there are have been deleted, and nobody is there to end them."""
    there = [pod for pod in pods if not pod.has_ended]
    if not there or any(pod.due is None or now < pod.due + _OVERDUE for pod in there):
        return None
    lost = _last_attempt(there)
    return replace(lost.finding, patience=0) if lost else None


def _troubles(pods: Sequence[PodFacts], events: Sequence[EventFacts]) -> Iterator[Finding]:
    """What goes badly in a run that goes on, the present before what was and is being repeated."""
    if refused := creation.explain(events):
        yield replace(refused, patience=NEVER) if pods else refused
    for pod in sorted(pods, key=lambda one: one.name):
        if not pod.has_ended and pod.deleted is None:
            yield from waiting.explain(pod, events)
            yield from filter(None, (scheduling.explain(pod), volumes.explain(pod, events)))
    if last := _last_attempt(pods):
        yield replace(last.finding, patience=NEVER)


def _end(
    observed: Observed, pods: Sequence[PodFacts], events: Sequence[EventFacts], now: float
) -> Finding | None:
    """Why a run has failed."""
    decided = _last_attempt(pods)
    if observed.reason == "DeadlineExceeded":
        begun = any(pod.has_begun for pod in pods)
        trouble = None if begun else next(_troubles(pods, events), None)
        return ended.deadline(trouble.message if trouble else "")
    if decided:
        return decided.finding
    taken = disruption.by_events(events, observed.since or now)
    return taken or next(_troubles(pods, events), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """How a pod was lost. `rank` orders what happened within one second: a pod that was taken away brings
    others down, and what is deleted then is tidied up."""

    at: float
    rank: int
    name: str
    finding: Finding


def _last_attempt(pods: Sequence[PodFacts]) -> _Loss | None:
    """The loss that brought the last attempt down: the first among the pods that were there together with the
    one that was created last. What its neighbours did after that is a consequence."""
    losses = [loss for pod in pods if (loss := _loss(pod))]
    newest = max((pod.created or 0.0 for pod in pods), default=0.0)
    together = [loss for loss in losses if loss.at >= newest]
    return min(together or losses, key=lambda one: (one.at, one.rank, one.name), default=None)


def _loss(pod: PodFacts) -> _Loss | None:
    if taken := disruption.explain(pod):
        when = taken.since if taken.since is not None else ended.ended_at(pod)
        return _Loss(at=when, rank=0, name=pod.name, finding=taken)
    if failed := ended.explain(pod):
        rank = 1 if pod.deleted is None else 2
        return _Loss(at=ended.ended_at(pod), rank=rank, name=pod.name, finding=failed)
    return None
