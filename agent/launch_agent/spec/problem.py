"""One thing that is wrong with a queue's configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`place` is a path below the resource's arguments, `why` the rest of a sentence that begins with it."""

    place: str
    why: str
    hint: str = ""
