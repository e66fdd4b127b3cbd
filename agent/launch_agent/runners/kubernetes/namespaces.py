"""In which namespace a run's objects are made, and which it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch_agent.errors import Refused
from launch_agent.spec.kubernetes.problems import Problems, path

# A DNS label (RFC 1123): what the API server takes as a namespace's name.
_LEGAL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_EVERY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """`default` is where jobs go whose queue names no namespace; `targets` are the others that jobs may go
    to, `*` for any."""

    default: str
    targets: Sequence[str] = ()

    def allows(self, name: str) -> bool:
        return name == self.default or name in self.targets or _EVERY in self.targets


def asked_for(manifest: Mapping[str, Any], problems: Problems) -> tuple[str, str]:
    """The namespace that a queue's configuration names and the place where it does: `metadata.namespace`,
    which Kubernetes knows, or `namespace` beside it, which is ours. Both empty where it names none."""
    metadata = manifest.get("metadata")
    inner = metadata.get("namespace") if isinstance(metadata, Mapping) else None
    found = [
        (place, value)
        for place, value in (("metadata.namespace", inner), ("namespace", manifest.get("namespace")))
        if value not in (None, "")
    ]
    for place, value in found:
        if not isinstance(value, str) or not _LEGAL.fullmatch(value):
            hint = "a namespace has at most 63 lower-case letters, digits and inner dashes"
            problems.add(place, f"is {str(value)[:80]!r}, which is no namespace's name", hint)
    if len(found) == 2 and found[0][1] != found[1][1]:
        problems.add(
            "namespace",
            f"is {str(found[1][1])[:80]!r}, and metadata.namespace is {str(found[0][1])[:80]!r}",
            "keep one of the two",
        )
    return (str(found[0][1]), found[0][0]) if found else ("", "")


def choose(wanted: str, place: str, namespaces: Namespaces) -> str:
    """The namespace for a run. Raises Refused for one that the agent does not serve."""
    if not wanted or namespaces.allows(wanted):
        return wanted or namespaces.default
    served = ", ".join(dict.fromkeys([namespaces.default, *namespaces.targets]))
    raise Refused(
        f"{path(place)}: this agent starts no jobs in the namespace {wanted!r}; it serves {served}",
        hint="choose one of these, or let an administrator add it to "
        "`runner: {kubernetes: {target-namespaces: [...]}}` in the agent's config",
    )
