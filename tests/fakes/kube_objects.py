"""Pods, Jobs and events as the API server returns them, from the few fields that a test is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
# When everything below begins: seconds since the epoch.
T0 = 1_790_000_000.0


def stamp(seconds: float) -> str:
    """A time so many seconds after T0, as the API server writes it."""
    return datetime.fromtimestamp(T0 + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def running(since: float = 1) -> Object:
    return {"running": {"startedAt": stamp(since)}}


def terminated(code: int, reason: str = "Error", *, at: float = 60, message: str = "") -> Object:
    times = {"startedAt": stamp(1), "finishedAt": stamp(at)}
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}}


def status(name: str, state: Object, *, restarts: int = 0, last: Object | None = None) -> Object:
    """One entry of `containerStatuses`."""
    return {"name": name, "state": state, "restartCount": restarts, "lastState": last or {}}


def condition(
    type_: str, status_: str = "True", reason: str = "", message: str = "", at: float = 0
) -> Object:
    return {
        "type": type_,
        "status": status_,
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(at),
    }


def pod(
    *statuses: Object,
    name: str = "train-abc",
    phase: str = "Pending",
    image: str = "registry.example/team/train:1",
    init: Sequence[Object] = (),
    conditions: Sequence[Object] = (),
    created: float = 0,
    deleted: float | None = None,
    grace: int = 30,
    node: str = "node-1",
    owner: str = "Job",
    spec: Mapping[str, Any] | None = None,
    **more: Any,
) -> Object:
    """A pod with a container for each status (`main` where there is none); `more` is put into its status.
    `deleted` is when somebody deleted it."""
    statuses = statuses or (status("main", waiting("ContainerCreating")),)
    meta: Object = {
        "name": name,
        "namespace": "team",
        "uid": f"uid-{name}",
        "creationTimestamp": stamp(created),
        "labels": {"launch-agent/item-key": "0123456789"},
        "ownerReferences": [{"kind": owner, "name": "train", "controller": True}] if owner else [],
    }
    if deleted is not None:
        meta |= {"deletionTimestamp": stamp(deleted + grace), "deletionGracePeriodSeconds": grace}
    containers = [
        {"name": one["name"], "image": image, "resources": {"limits": {"memory": "2Gi"}}} for one in statuses
    ]
    declared = [{"name": one["name"], "image": image} for one in init]
    found = {"phase": phase, "conditions": list(conditions), "startTime": stamp(created)}
    found |= {"containerStatuses": list(statuses), "initContainerStatuses": list(init), **more}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {
            "containers": containers,
            "initContainers": declared,
            **({"nodeName": node} if node else {}),
            **(spec or {}),
        },
        "status": found,
    }


def event(
    reason: str,
    message: str,
    *,
    kind: str = "Pod",
    name: str = "train-abc",
    at: float = 1,
    last: float | None = None,
    warning: bool = True,
) -> Object:
    """An event about a pod (or the Job `train`, with kind="Job")."""
    about = {"kind": kind, "name": name, "uid": f"uid-{name}", "namespace": "team"}
    return {
        "metadata": {"name": f"{name}.1", "namespace": "team"},
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "type": "Warning" if warning else "Normal",
        "count": 1,
        "firstTimestamp": stamp(at),
        "lastTimestamp": stamp(at if last is None else last),
    }
