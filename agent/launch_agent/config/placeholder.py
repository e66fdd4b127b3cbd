"""Finds `<…>` that an example left for the user to fill in, so that it is named and never used as a value."""

from __future__ import annotations

import re
from typing import Any

from launch_agent.config.finding import Finding, Path, Severity

_PLACEHOLDER = re.compile(r"<([^<>\n]{1,80})>")
# Below these keys stands free text of other programs, where `<` may be meant: whole values only.
_FREE = frozenset({"kaniko-config", "buildkit-config"})


def findings(value: Any, path: Path = (), *, free: bool = False) -> list[Finding]:
    """One finding for each value that holds a placeholder. With `free` the value as a whole must be one."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [
            finding
            for key, item in items
            for finding in findings(item, (*path, key), free=free or key in _FREE)
        ]
    if not isinstance(value, str):
        return []
    names = [name for name in _PLACEHOLDER.findall(value) if name.isprintable()]
    whole = _PLACEHOLDER.fullmatch(value.strip())
    if not names or (free and not whole):
        return []
    if whole and "|" in names[0]:
        choices = " or ".join(part.strip() for part in names[0].split("|"))
        hint = f"write {choices}"
    else:
        hint = "put your own value in its place, without < and >"
    listed = ", ".join(f"<{name}>" for name in dict.fromkeys(names))
    word = "placeholder" if len(set(names)) == 1 else "placeholders"
    return [
        Finding(
            severity=Severity.ERROR,
            code="placeholder",
            path=path,
            message=f"the {word} {listed} {'is' if word == 'placeholder' else 'are'} not filled in",
            hint=hint,
        )
    ]
