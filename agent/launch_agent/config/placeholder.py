"""Finds `<…>` that an example left for the user to fill in, so that it is named and never used as a value."""

from __future__ import annotations

import re
from typing import Any

from launch_agent.config.finding import Finding, Path, Severity

_PLACEHOLDER = re.compile(r"<([^<>\n]{1,80})>")
# Below these keys stands free text of other programs, where `<` may be meant: whole values only.
_FREE = frozenset({"kaniko-config"})


def findings(value: Any, path: Path = ()) -> list[Finding]:
    """One finding for each value that holds a placeholder, keys included."""
    if isinstance(value, dict):
        return [finding for key, item in value.items() for finding in findings(item, (*path, key))]
    if isinstance(value, list):
        return [finding for index, item in enumerate(value) for finding in findings(item, (*path, index))]
    if not isinstance(value, str):
        return []
    names = _PLACEHOLDER.findall(value)
    whole = _PLACEHOLDER.fullmatch(value.strip())
    if not names or (not whole and _FREE.intersection(path)):
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
