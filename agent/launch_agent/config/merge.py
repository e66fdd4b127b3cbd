"""Several values files as the one that Helm makes of them, and which of them each value came from.

Helm's rule for `-f base.yaml -f cluster.yaml`: mappings are merged key by key, everything else, lists and
null included, is replaced by the later file. A null then takes the chart's own default away (see
`values.judge.as_helm_checks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from launch_agent.config.document import Document
from launch_agent.config.finding import Path, follow

_MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What the layers amount to; a later layer goes before an earlier one. At least one layer is needed."""

    layers: tuple[Document, ...]
    value: dict[str, Any] = field(repr=False)

    def owner(self, path: Path) -> Document:
        """The layer that the value at the path came from. A mapping that several layers had a part in, and a
        value that is not there, are the last one's."""
        holders: Sequence[Document] = [layer for layer in self.layers if isinstance(layer.value, dict)]
        found = self.layers[-1]
        for depth in range(len(path) + 1):
            holders = _effective(holders, path[:depth])
            if not holders:
                break
            found = holders[-1]
        return found

    def place(self, path: Path, *, at_key: bool = False) -> tuple[str, int, int]:
        """File, line and column of the value at the path, or of its key."""
        owner = self.owner(path)
        return (owner.file, *owner.place(path, at_key=at_key))


def merge(layers: Sequence[Document]) -> Merged:
    """A layer that is no mapping, as an empty file, adds nothing."""
    values = [layer.value for layer in layers if isinstance(layer.value, dict)]
    return Merged(layers=tuple(layers), value=reduce(over, values, {}))


def over(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """One mapping laid over another, neither of them changed."""
    result = dict(base)
    for key, value in top.items():
        below = result.get(key)
        merges = isinstance(value, dict) and isinstance(below, dict)
        result[key] = over(below or {}, value) if merges else value
    return result


def _effective(holders: Sequence[Document], path: Path) -> list[Document]:
    """Those of the layers whose value at the path is still seen: the last one, and where that is a mapping,
    the mappings right below it."""
    kept: list[Document] = []
    for layer in reversed(holders):
        value = follow(layer.value, path, _MISSING)
        if value is _MISSING:
            continue
        if kept and not isinstance(value, dict):
            break
        kept.insert(0, layer)
        if not isinstance(value, dict):
            break
    return kept
