"""Reads fields of API objects that may be missing or of any type: a custom resource's status is whatever its
controller writes, and a surprise in it must not stop a watch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

# Messages of controllers may carry whole stack traces; ours are shown beside a queue item.
LONGEST_TEXT = 2_000


def field(value: Any, *path: str) -> Any:
    """What stands at a path of keys; None where there is nothing."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def items(value: Any, *path: str) -> Sequence[Any]:
    """The list at a path; empty where there is none."""
    found = field(value, *path)
    return found if isinstance(found, list) else ()


def text(value: Any, *path: str) -> str:
    """The text at a path, of at most LONGEST_TEXT characters; numbers and truth values as JSON writes them,
    empty for everything else."""
    found = field(value, *path)
    if isinstance(found, str):
        return found[:LONGEST_TEXT]
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, int | float):
        return str(found)
    return ""


def word(value: Any, *path: str) -> str:
    """As `text`, for names that many objects share: equal ones are one string in memory."""
    return sys.intern(text(value, *path))


def whole(value: Any, *path: str) -> int | None:
    """The whole number at a path."""
    found = field(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def moment(value: Any, *path: str) -> float | None:
    """The time at a path (RFC 3339, as the API server writes times), in seconds since the epoch."""
    found = field(value, *path)
    if not isinstance(found, str):
        return None
    try:
        when = datetime.fromisoformat(found)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
