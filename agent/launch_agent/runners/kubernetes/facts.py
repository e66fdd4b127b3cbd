"""What is kept of API objects: small frozen values, made before an informer stores anything.

A Job with its pod is some 15 kB of JSON, and an agent may follow thousands. Nothing below this module sees
more of an object than these values; all of them can be made from any JSON whatsoever.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from launch_agent.runners.kubernetes.reading import field, items, moment, text, whole, word
from launch_agent.spec.identity import PREFIX, from_labels
from launch_agent.spec.model import RunIdentity

_STEP = re.compile(r"([^.\[\]]+)|\[([^\]]+)\]")
ITEM_KEY = f"{PREFIX}item-key"
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
# Of each object: conditions and scalar fields of its status beyond these are not kept.
_MOST_CONDITIONS = 32
_MOST_FIELDS = 64
# Of a pod's conditions only those that `diagnose` and `status` read; the others change with every probe.
_POD_CONDITIONS = frozenset({"PodScheduled", "DisruptionTarget", "TerminationTarget", "Ready"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One entry of `status.conditions`. `status` is True, False or Unknown, as text; `since` is seconds since
    the epoch, None where the controller does not say."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    since: float | None = None

    @property
    def holds(self) -> bool:
        return self.status == "True"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFacts:
    """The object that a run is: a Job, a Pod or a custom resource.

    `observed` is `status.observedGeneration`, None where the kind has none. `suspend` is `spec.suspend` (or
    `spec.runPolicy.suspend`), `queue` the Kueue queue that it was submitted to. `retries` is the backoff
    limit that its spec sets. `values` holds the scalar fields of `status` down to the second level, as text,
    by their path without `status.`, and whatever else was asked for, by the full path. Times are seconds
    since the epoch.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    identity: RunIdentity | None
    item_key: str
    created: float | None
    deleted: float | None
    generation: int
    observed: int | None
    suspend: bool
    queue: str
    retries: int | None
    conditions: tuple[Condition, ...]
    values: tuple[tuple[str, str], ...]

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def is_stale(self) -> bool:
        """Whether the status is older than the spec: the controller has not seen the last change yet."""
        return self.observed is not None and self.observed < self.generation

    def value(self, path: str) -> str:
        """A scalar of the status as text; empty where there is none."""
        return next((value for key, value in self.values if key == path), "")

    def count(self, path: str) -> int:
        """A number of the status; 0 where there is none."""
        value = self.value(path)
        return int(value) if value.isdecimal() else 0

    def condition(self, type_: str) -> Condition | None:
        return next((one for one in self.conditions if one.type == type_), None)


class Role(StrEnum):
    """What a container is in its pod. A sidecar is an init container that goes on (restartPolicy Always)."""

    MAIN = "main"
    INIT = "init"
    SIDECAR = "sidecar"
    EPHEMERAL = "ephemeral"


class Progress(StrEnum):
    """The three states of a container, and none while its node has said nothing."""

    UNKNOWN = ""
    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """One container. `reason`, `message`, `exit_code`, `signal` and `ended` are those of its present state;
    `last_reason` and `last_code` tell how it ended before it was started again. `memory` is its limit, as
    written."""

    name: str
    role: Role
    image: str
    progress: Progress
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    began: float | None = None
    ended: float | None = None
    restarts: int = 0
    last_reason: str = ""
    last_code: int | None = None
    last_ended: float | None = None
    memory: str = ""

    @property
    def has_begun(self) -> bool:
        """Whether it runs or has run."""
        return self.progress in (Progress.RUNNING, Progress.TERMINATED) or self.restarts > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """A pod. `reason` and `message` are the pod's own (`Evicted`, `NodeLost`), not a container's. `main` is
    the container that is the run: the one that the annotation names, else the first. `gates` are its
    scheduling gates, `owner` is (kind, name) of the controller. `deleted` is when somebody deleted it, `due`
    when its grace period is over."""

    namespace: str
    name: str
    uid: str
    item_key: str
    phase: str
    reason: str
    message: str
    node: str
    created: float | None
    began: float | None
    deleted: float | None
    due: float | None
    owner: tuple[str, str]
    main: str
    gates: tuple[str, ...]
    conditions: tuple[Condition, ...]
    containers: tuple[ContainerFacts, ...]

    def condition(self, type_: str) -> Condition | None:
        return next((one for one in self.conditions if one.type == type_), None)

    @property
    def has_ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def main_container(self) -> ContainerFacts | None:
        return next((one for one in self.containers if one.role is Role.MAIN and one.name == self.main), None)

    @property
    def has_begun(self) -> bool:
        """Whether the run's own container runs or has run."""
        main = self.main_container
        return main is not None and main.has_begun

    @property
    def is_running(self) -> bool:
        main = self.main_container
        return main is not None and main.progress is Progress.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFacts:
    """An event. `about` is (kind, name, uid) of the object that it happened to; `warning` is false for what
    is normal. `first` and `last` are seconds since the epoch."""

    namespace: str
    name: str
    about: tuple[str, str, str]
    reason: str
    message: str
    warning: bool
    count: int
    first: float | None
    last: float | None


def workload(obj: Mapping[str, Any], keep: Collection[str] = ()) -> WorkloadFacts:
    """The facts of any object. `keep` are paths that rules of the administrator read (`status.jobs[0].state`)
    and that therefore have to be kept."""
    annotations = field(obj, "metadata", "annotations")
    status = field(obj, "status")
    limit = whole(obj, "spec", "backoffLimit")
    policy = field(obj, "spec", "runPolicy")
    return WorkloadFacts(
        api_version=word(obj, "apiVersion"),
        kind=word(obj, "kind"),
        namespace=word(obj, "metadata", "namespace"),
        name=text(obj, "metadata", "name"),
        uid=text(obj, "metadata", "uid"),
        identity=_identity(annotations),
        item_key=_label(obj, ITEM_KEY),
        created=moment(obj, "metadata", "creationTimestamp"),
        deleted=_deletion(obj),
        generation=whole(obj, "metadata", "generation") or 0,
        observed=whole(status, "observedGeneration"),
        suspend=field(obj, "spec", "suspend") is True or field(policy, "suspend") is True,
        queue=sys.intern(_label(obj, KUEUE_QUEUE)),
        retries=limit if limit is not None else whole(policy, "backoffLimit"),
        conditions=tuple(conditions(status)),
        values=(*_scalars(status), *((path, at(obj, path)) for path in sorted(keep))),
    )


def pod(obj: Mapping[str, Any]) -> PodFacts:
    """The facts of a pod."""
    status = field(obj, "status")
    declared = items(obj, "spec", "containers")
    main = text(field(obj, "metadata", "annotations"), DEFAULT_CONTAINER)
    names = [word(one, "name") for one in declared]
    return PodFacts(
        namespace=word(obj, "metadata", "namespace"),
        name=text(obj, "metadata", "name"),
        uid=text(obj, "metadata", "uid"),
        item_key=_label(obj, ITEM_KEY),
        phase=word(status, "phase"),
        reason=word(status, "reason"),
        message=text(status, "message"),
        node=word(obj, "spec", "nodeName"),
        created=moment(obj, "metadata", "creationTimestamp"),
        began=moment(status, "startTime"),
        deleted=_deletion(obj),
        due=moment(obj, "metadata", "deletionTimestamp"),
        owner=_owner(obj),
        main=main if main in names else next(iter(names), ""),
        gates=tuple(word(gate, "name") for gate in items(obj, "spec", "schedulingGates")),
        conditions=tuple(one for one in conditions(status) if one.type in _POD_CONDITIONS),
        containers=tuple(_containers(obj)),
    )


def event(obj: Mapping[str, Any]) -> EventFacts:
    """The facts of an event of either API (`v1` and `events.k8s.io/v1`; the former is what `v1` lists)."""
    about = field(obj, "involvedObject") or field(obj, "regarding")
    series = field(obj, "series")
    when = moment(obj, "eventTime")
    last = moment(series, "lastObservedTime") or moment(obj, "lastTimestamp") or when
    return EventFacts(
        namespace=word(obj, "metadata", "namespace"),
        name=text(obj, "metadata", "name"),
        about=(word(about, "kind"), text(about, "name"), text(about, "uid")),
        reason=word(obj, "reason"),
        message=text(obj, "message") or text(obj, "note"),
        warning=text(obj, "type") == "Warning",
        count=whole(series, "count") or whole(obj, "count") or 1,
        first=moment(obj, "firstTimestamp") or when or last,
        last=last or moment(obj, "metadata", "creationTimestamp"),
    )


def at(obj: Any, path: str) -> str:
    """The scalar at a path, as text; empty where there is none.

    `status.jobs[0].state` takes an entry of a list by its number, `status.conditions[Ready].status` by its
    `type`.
    """
    for key, entry in _STEP.findall(path):
        obj = _entry(obj, entry) if entry else field(obj, key)
    return text({"": obj}, "")


def _entry(found: Any, which: str) -> Any:
    if not isinstance(found, list):
        return None
    if which.isdecimal():
        return found[int(which)] if int(which) < len(found) else None
    return next((one for one in found if text(one, "type") == which), None)


def _identity(annotations: Any) -> RunIdentity | None:
    if not isinstance(annotations, Mapping):
        return None
    return from_labels(
        {key: sys.intern(value) for key, value in annotations.items() if isinstance(value, str)}
    )


def _label(obj: Any, name: str) -> str:
    return text(field(obj, "metadata", "labels"), name)


def _deletion(obj: Any) -> float | None:
    """When the object was deleted: the timestamp is that of the end of the grace period."""
    due = moment(obj, "metadata", "deletionTimestamp")
    return None if due is None else due - (whole(obj, "metadata", "deletionGracePeriodSeconds") or 0)


def _owner(obj: Any) -> tuple[str, str]:
    for one in items(obj, "metadata", "ownerReferences"):
        if field(one, "controller") is True:
            return word(one, "kind"), text(one, "name")
    return "", ""


def conditions(status: Any) -> Iterator[Condition]:
    """The conditions of any status, those that can be read."""
    for one in items(status, "conditions")[:_MOST_CONDITIONS]:
        if type_ := word(one, "type"):
            yield Condition(
                type=type_,
                status=word(one, "status"),
                reason=word(one, "reason"),
                message=text(one, "message"),
                since=moment(one, "lastTransitionTime"),
            )


def _scalars(status: Any) -> list[tuple[str, str]]:
    """The fields of a status, the first level before the second, as far as there is room for them."""
    first, second = [], []
    for key, value in status.items() if isinstance(status, Mapping) else ():
        if isinstance(value, Mapping):
            inner = ((f"{key}.{name}", text(value, name)) for name in list(value)[:_MOST_FIELDS])
            second += [(path, found) for path, found in inner if found]
        elif found := text(status, key):
            first.append((str(key), found))
    return [(sys.intern(path), sys.intern(found)) for path, found in (first + second)[:_MOST_FIELDS]]


def _containers(obj: Any) -> Iterator[ContainerFacts]:
    """All containers that the spec declares, each with its status where there is one yet."""
    for role, declared, reported in (
        (Role.INIT, "initContainers", "initContainerStatuses"),
        (Role.MAIN, "containers", "containerStatuses"),
        (Role.EPHEMERAL, "ephemeralContainers", "ephemeralContainerStatuses"),
    ):
        statuses = {word(one, "name"): one for one in items(obj, "status", reported)}
        for one in items(obj, "spec", declared):
            goes_on = role is Role.INIT and text(one, "restartPolicy") == "Always"
            yield _container(one, statuses.get(word(one, "name")), Role.SIDECAR if goes_on else role)


def _container(declared: Any, status: Any, role: Role) -> ContainerFacts:
    progress = next(
        (one for one in Progress if one and field(status, "state", one) is not None), Progress.UNKNOWN
    )
    state = field(status, "state", progress)
    last = field(status, "lastState", "terminated")
    return ContainerFacts(
        name=word(declared, "name"),
        role=role,
        image=word(declared, "image"),
        progress=progress,
        reason=word(state, "reason"),
        message=text(state, "message"),
        exit_code=whole(state, "exitCode"),
        signal=whole(state, "signal"),
        began=moment(state, "startedAt"),
        ended=moment(state, "finishedAt"),
        restarts=whole(status, "restartCount") or 0,
        last_reason=word(last, "reason"),
        last_code=whole(last, "exitCode"),
        last_ended=moment(last, "finishedAt"),
        memory=word(declared, "resources", "limits", "memory"),
    )
