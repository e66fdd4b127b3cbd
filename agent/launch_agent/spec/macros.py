"""Fills the documented macros into resource args, and nothing else.

Six names are replaced in text values: keys are left alone, a replaced text is not looked at again, and the
agent's environment is never read, since whatever a submitter can name there would reach the submitter's run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from launch_agent.spec.model import RunIdentity, RunSpec

NAMES = frozenset({"project_name", "entity_name", "run_id", "run_name", "image_uri", "author"})
_MACRO = re.compile(r"\$\{(\w+)\}", re.ASCII)


def macros_for(spec: RunSpec, identity: RunIdentity, image: str) -> dict[str, str]:
    """What each macro stands for in one run; `image` is empty for processes."""
    return {
        "project_name": identity.project,
        "entity_name": identity.entity,
        "run_id": identity.run_id,
        "run_name": spec.name,
        "image_uri": image,
        "author": spec.author,
    }


def fill(value: Any, macros: Mapping[str, str | None]) -> Any:
    """A copy of a JSON value with every documented macro replaced; a macro without a value becomes empty.

    `${OTHER}` stays as it is: it may be meant for a shell inside the container (see `unknown`).
    """
    if isinstance(value, str):
        return _MACRO.sub(lambda found: _replacement(found, macros), value)
    if isinstance(value, Mapping):
        return {key: fill(item, macros) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fill(item, macros) for item in value]
    return value


def unknown(value: Any) -> frozenset[str]:
    """The names in `${…}` in text values that no macro has: perhaps typing errors, worth a warning."""
    if isinstance(value, str):
        return frozenset(_MACRO.findall(value)) - NAMES
    if isinstance(value, Mapping):
        return frozenset().union(*(unknown(item) for item in value.values()))
    if isinstance(value, list | tuple):
        return frozenset().union(*(unknown(item) for item in value))
    return frozenset()


def _replacement(found: re.Match[str], macros: Mapping[str, str | None]) -> str:
    name = found[1]
    return (macros.get(name) or "") if name in NAMES else found[0]
