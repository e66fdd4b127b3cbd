"""Files that commands take as arguments: YAML or JSON, from a path or from standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from launch_agent.errors import ConfigError


def mapping(name: str, what: str) -> dict[str, Any]:
    """The mapping in a file; `-` is standard input. Raises ConfigError with the place of what is wrong."""
    from launch_agent.config import document, load

    stdin = name == "-"
    data = sys.stdin.buffer.read(document.LARGEST + 1) if stdin else load.fetch(Path(name))
    shown = "<stdin>" if stdin else name
    value = document.read(data, file=shown).value
    if not isinstance(value, dict):
        raise ConfigError(
            f"{what} must be a mapping", file=shown, hint="`key: value` lines, or a JSON object"
        )
    return value


def pairs(given: tuple[str, ...], option: str) -> dict[str, Any]:
    """`key=value` options as a mapping. A value is JSON where it reads as such, a text otherwise."""
    import json

    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"{option} {text!r} is not of the form name=value")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
