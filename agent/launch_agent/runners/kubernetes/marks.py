"""What the agent writes on a run's object after it was made, so that the next agent knows it.

`reported`: the end has reached the queue item. `stopped`: its user asked for the end. `ttl-seconds`: how
long a Job is to stay after its end; it becomes the Job's own `ttlSecondsAfterFinished` only once the end is
reported, for a Job that is removed while no agent looks has lost its end. A finalizer would do the same, and
keep namespaces from being deleted where the agent is gone; a Job that stays harms nobody. Where the agent may
not change Jobs, they have their time to live from the start: an agent that is away for longer does not hear
how they ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch_agent.spec.identity import PREFIX

REPORTED = f"{PREFIX}reported"
STOPPED = f"{PREFIX}stopped"
TTL = f"{PREFIX}ttl-seconds"
_TTL_FIELD = "ttlSecondsAfterFinished"
# Where kinds have a time to live of their own: below `spec`, or one level deeper (Kubeflow's runPolicy).
_TTL_FIELDS = (_TTL_FIELD, "timeToLiveSeconds")


def hold_ttl(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The Job with its time to live as an annotation only."""
    spec = dict(manifest["spec"])
    metadata = dict(manifest["metadata"])
    ttl = spec.pop(_TTL_FIELD, None)
    if ttl is None:
        return dict(manifest)
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TTL: str(ttl)}
    return {**manifest, "metadata": metadata, "spec": spec}


def reported(obj: Mapping[str, Any]) -> bool:
    return REPORTED in _annotations(obj)


def stopped(obj: Mapping[str, Any]) -> bool:
    return STOPPED in _annotations(obj)


def held_ttl(obj: Mapping[str, Any]) -> int | None:
    """The time to live that the Job gets once its end is reported, in seconds; None for none."""
    text = _annotations(obj).get(TTL, "")
    return int(text) if str(text).isdecimal() else None


def has_ttl(obj: Mapping[str, Any]) -> bool:
    """Whether somebody else removes the object after its end: what its spec says of that is its user's."""
    spec = obj.get("spec")
    if not isinstance(spec, Mapping):
        return False
    places = [spec, *(value for value in spec.values() if isinstance(value, Mapping))]
    return any(place.get(field) is not None for place in places for field in _TTL_FIELDS)


def report(ttl: int | None, now: str) -> dict[str, Any]:
    """The change that marks an object as reported, and lets its time to live begin."""
    change: dict[str, Any] = {"metadata": {"annotations": {REPORTED: now}}}
    if ttl is not None:
        change["spec"] = {_TTL_FIELD: ttl}
    return change


def _annotations(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (obj.get("metadata") or {}).get("annotations")
    return found if isinstance(found, Mapping) else {}
