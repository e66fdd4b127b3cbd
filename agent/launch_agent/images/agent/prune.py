"""What an image of the agent leaves out, read from `prune.yaml`: whole packages, and files of others.

The rules are data so that each has its reason beside it, and so that both ways of building apply the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from launch_agent.errors import ImageError
from launch_agent.images.agent.plan import Pruning

_FILE = "prune.yaml"
_KEYS = {
    "packages": ({"name", "reason"}, {"unless"}),
    "files": ({"pattern", "reason"}, {"package", "keep", "unless", "instead"}),
}


def packages(extras: Collection[str]) -> dict[str, str]:
    """The packages that an image with these extras leaves out as a whole, each with the reason."""
    return {rule["name"]: rule["reason"] for rule in _rules("packages", extras)}


def files(extras: Collection[str], installed: Collection[str]) -> tuple[Pruning, ...]:
    """The rules for files of the packages that are installed, and for those of all packages."""
    return tuple(
        Pruning(
            pattern=rule["pattern"],
            reason=rule["reason"],
            package=rule.get("package", ""),
            keep=tuple(rule.get("keep", ())),
            instead=rule.get("instead"),
        )
        for rule in _rules("files", extras)
        if not rule.get("package") or rule["package"] in installed
    )


def _rules(part: str, extras: Collection[str]) -> Iterator[Mapping[str, Any]]:
    needed, optional = _KEYS[part]
    document = yaml.safe_load(Path(__file__).with_name(_FILE).read_text(encoding="utf-8"))
    for rule in document[part]:
        if not needed <= rule.keys() <= needed | optional:
            raise ImageError(f"a rule of {_FILE} has other keys than it should: {sorted(rule)}")
        if not set(rule.get("unless", ())) & set(extras):
            yield rule
