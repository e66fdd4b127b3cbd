"""What Kueue says of a run's quota: the conditions of the Workload that it makes for the run's object.

Kueue suspends an object and says on another one why, and whether it was evicted, by whom. That is looked at
where the cluster has Kueue and the account may list its Workloads; else a suspended run is known to wait, and
not for what. A Workload has none of our labels: it is known by the uid of the object that it is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import KubeError, UnknownKind
from launch_agent.clients.kube.objects import Resource
from launch_agent.runners.kubernetes import facts
from launch_agent.runners.kubernetes.facts import Condition
from launch_agent.runners.kubernetes.reading import field, items, text

KEY = "kueue.x-k8s.io/workloads"
# Kueue's label on each Workload: the uid of the object that it is for.
JOB_UID = "kueue.x-k8s.io/job-uid"
_VERSIONS = ("kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1beta1")
_TYPES = frozenset({"QuotaReserved", "Admitted", "Evicted", "Preempted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """`uid` is that of the run's object."""

    uid: str
    conditions: tuple[Condition, ...]


def workloads(api: KubeApi, namespace: str) -> Resource | None:
    """Kueue's Workloads, where they can be watched; an empty namespace stands for all."""
    for version in _VERSIONS:
        try:
            found = api.resource(version, "Workload")
            return found if all(api.can(verb, KEY, namespace) for verb in ("list", "watch")) else None
        except UnknownKind:
            continue
        except KubeError:
            return None  # it is for messages only; the next look may find it
    return None


def of(obj: Mapping[str, Any]) -> Quota | None:
    """What is kept of a Workload; None where it is for no object."""
    uid = text(field(obj, "metadata", "labels"), JOB_UID)
    for owner in items(obj, "metadata", "ownerReferences"):
        uid = uid or text(owner, "uid")
    conditions = facts.conditions(field(obj, "status"))
    kept = tuple(one for one in conditions if one.type in _TYPES)
    return Quota(uid=uid, conditions=kept) if uid else None
