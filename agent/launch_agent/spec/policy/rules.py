"""What a rule of the policy is made of, and how the administrator's `allow` answers it.

The tables of each resource turn a job into `Demand`s: what it asks for beyond what anybody may have. A demand
is granted when `allow` opens its key entirely, or by a pattern for each of its values. Patterns are compared
without regard to what a path or a macro would later become, so a value that holds `..` or a macro is granted
by no pattern: `/data/*` must not let `/data/../etc` through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

SECURE_WHY = "changes what runs, which secure mode leaves to the image or the code"
SECURE_CURE = "secure mode is left with `secure_mode: false`"
_CLIMBS = re.compile(r"(?:^|[/\\:=,])\.\.(?:$|[/\\:,])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One thing that a job asks for and that is refused unless opened.

    `key` is what the administrator opens under `policy.allow.<resource>`, `path` where the job asks for it,
    `why` the rest of a sentence that begins with the path. `values` are the texts that patterns are compared
    with; empty where only `true` opens the key. `closed` says how it is opened where `allow` cannot do it.
    """

    resource: str
    key: str
    path: str
    why: str
    values: tuple[str, ...] = ()
    closed: str = ""


Allow = Mapping[str, Mapping[str, bool | Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Openings:
    """`policy.allow` in a form in which `hostNetwork`, `host-network` and `host_network` are one key."""

    _by_key: Mapping[tuple[str, str], bool | Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, allow: Allow) -> Openings:
        by_key: dict[tuple[str, str], bool | Sequence[str]] = {}
        for resource, keys in allow.items():
            for key, value in keys.items():
                name = (_plain(resource), _plain(key))
                by_key[name] = _both(by_key.get(name, False), value)
        return cls(_by_key=by_key)

    def opens_wholly(self, resource: str, key: str) -> bool:
        """Whether a key is open for any value."""
        return self._by_key.get((_plain(resource), _plain(key))) is True

    def grant(self, demand: Demand) -> bool:
        """Whether the administrator opened what is asked for."""
        if demand.closed:
            return False
        opened = self._by_key.get((_plain(demand.resource), _plain(demand.key)), False)
        if isinstance(opened, bool):
            return opened
        patterns = [opened] if isinstance(opened, str) else opened
        return bool(demand.values) and all(_matches(value, patterns) for value in demand.values)


def _both(one: bool | Sequence[str], other: bool | Sequence[str]) -> bool | Sequence[str]:
    """What two spellings of a key open together: all that either opens."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is True or other is True or (one if isinstance(other, bool) else other)
    return tuple(
        pattern for value in (one, other) for pattern in ([value] if isinstance(value, str) else value)
    )


def texts(value: Any) -> tuple[str, ...]:
    """A value as the texts that patterns are compared with; none for shapes that have no single text."""
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, str | int | float):
        return (str(value),)
    if isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
        return tuple(text for item in value for text in texts(item))
    return ()


def has_macro(value: str) -> bool:
    return "${" in value


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()


def is_plain(value: str) -> bool:
    """Whether a text says what it will mean: patterns judge no other."""
    return not has_macro(value) and not _CLIMBS.search(value)


def _matches(value: str, patterns: Sequence[str]) -> bool:
    return is_plain(value) and any(fnmatchcase(value, pattern) for pattern in patterns)
