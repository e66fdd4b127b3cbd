"""The words of the Kubernetes API that requests are made of: resources, patches, events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of object as a server has it. `group` is empty for the core; `verbs` are what is served."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def key(self) -> str:
        """Names the kind whatever its version: `batch/jobs`, `/pods`."""
        return f"{self.group}/{self.plural}"

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        return root(self.api_version)


def root(api_version: str) -> str:
    """Where the kinds of an `apiVersion` live."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


class Patch(Enum):
    """What a patch is; the value is its content type."""

    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    APPLY = "application/apply-patch+yaml"


class Propagation(Enum):
    """What becomes of what an object owns: removed after it, removed before it, left."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a list. `version` is the list's, from which a watch can go on after the last part; `next`
    asks for the part after this one, empty in the last."""

    items: Sequence[Object]
    version: str
    next: str = ""


class Change(Enum):
    """What a watch tells of an object. A bookmark tells only how far it is."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    change: Change
    object: Object

    @property
    def version(self) -> str:
        return version_of(self.object)


def version_of(obj: Mapping[str, Any]) -> str:
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")
