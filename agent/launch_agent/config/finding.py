"""What is wrong with a configuration, and where: one value per finding, collected and never raised midway."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from launch_agent.errors import ConfigError

Path = tuple[str | int, ...]


class Severity(StrEnum):
    """Errors stop the agent, warnings tell of something that is likely unwanted, notes are advice."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`code` is a stable word for the kind of finding (`unknown-key`); `path` leads to the value within its
    document; `meant` is the key or value that was probably meant; `at_key` says that the key is wrong, not
    its value; `line` and `column` count from 1, 0 where the value does not come from a file."""

    severity: Severity
    code: str
    message: str
    path: Path = ()
    hint: str = ""
    meant: str = ""
    at_key: bool = False
    line: int = 0
    column: int = 0

    @property
    def key(self) -> str:
        """The path as people write it: `queues[0]`, `builder.type`."""
        return dotted(self.path)


def dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        # What is not printable could do things to a terminal.
        name = part if isinstance(part, int) or part.isprintable() else repr(part)
        text += f"[{name}]" if isinstance(part, int) else f".{name}" if text else str(name)
    return text


def follow(value: Any, path: Sequence[str | int], missing: Any = None) -> Any:
    """What the path leads to within the value; `missing` where it leads to nothing."""
    for part in path:
        if isinstance(value, Mapping) and part in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return missing
    return value


def nearest(word: str, words: Iterable[str]) -> str:
    """The word that was probably meant; empty where none is near. Dashes, underscores and case are equal."""
    plain = {_plain(each): each for each in words}
    found = difflib.get_close_matches(_plain(word), list(plain), n=1, cutoff=0.65)
    return plain[found[0]] if found else ""


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")


def stop(findings: Iterable[Finding], *, file: str, see: str = "") -> None:
    """Raise ConfigError for the first error among the findings, if there is one.

    The first is the one that stands first in the file; its hint tells how many more there are, and with
    `see` how to see them.
    """
    errors = sorted(
        (finding for finding in findings if finding.severity is Severity.ERROR),
        key=lambda finding: (finding.line, finding.column),
    )
    if not errors:
        return
    first = errors[0]
    more = len(errors) - 1
    rest = f"({more} more {'error' if more == 1 else 'errors'}{see and f': {see}'})" if more else ""
    raise ConfigError(
        first.message,
        path=first.key,
        file=file,
        line=first.line,
        column=first.column,
        hint=" ".join(part for part in (first.hint, rest) if part),
    )
