"""Which files a `.dockerignore` or `.wandbignore` leaves out: one matcher, by Docker's own rules.

A pattern is matched against the whole path below the context's root and against each folder on the way to it;
the last pattern that matches decides, `!` takes back. `**` stands for any number of folders, also for none.
(The rules are those of moby's patternmatcher, which the engine, BuildKit and Kaniko share; they are not those
of `.gitignore`.)
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from launch_agent.errors import ImageError

_LITERAL = re.compile(r"[^*?\[\\]*")
_MOST_PATTERNS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    takes_back: bool
    pattern: re.Pattern[str]


class Ignore:
    """The patterns of one file. Paths are relative, with forward slashes."""

    def __init__(self, text: str, *, file: str) -> None:
        """Raises ImageError naming the line of a pattern that is none."""
        self._rules: list[_Rule] = []
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
            if not line.startswith("#") and (pattern := line.strip()):
                self._rules.append(_rule(pattern, f"{file}:{number}"))
        if len(self._rules) > _MOST_PATTERNS:
            raise ImageError(f"{file} has {len(self._rules)} patterns, {_MOST_PATTERNS} at most")
        self.takes_back = any(rule.takes_back for rule in self._rules)

    def leaves_out(self, path: str) -> bool:
        """Whether the file or folder is left out. What is in such a folder may still be taken back."""
        found = False
        for rule, matches in zip(self._rules, self._matches(path), strict=True):
            if matches:
                found = not rule.takes_back
        return found

    def _matches(self, path: str) -> Sequence[bool]:
        """For each rule whether it matches the path or a folder above it."""
        above = posixpath.dirname(path)
        # What lies above `/` is `/` again.
        inherited = self._cached(above) if above not in ("", path) else (False,) * len(self._rules)
        return [
            before or rule.pattern.fullmatch(path) is not None
            for rule, before in zip(self._rules, inherited, strict=True)
        ]

    @lru_cache(maxsize=256)  # noqa: B019 - an Ignore lives for one plan, and its files come folder by folder
    def _cached(self, folder: str) -> tuple[bool, ...]:
        return tuple(self._matches(folder))


def _rule(text: str, place: str) -> _Rule:
    takes_back = text.startswith("!")
    pattern = text[1:].strip() if takes_back else text
    if not pattern:
        raise ImageError(f"{place}: '!' alone is no pattern", hint="write what is to be taken back after it")
    pattern = posixpath.normpath(pattern)
    if len(pattern) > 1:
        pattern = pattern.lstrip("/")
    try:
        return _Rule(takes_back=takes_back, pattern=re.compile(_expression(pattern), re.DOTALL))
    except (re.error, IndexError) as error:
        raise ImageError(
            f"{place}: {text!r} is not a pattern: {error}",
            hint="a [ needs its ], a \\ the character after it",
        ) from error


def _expression(pattern: str) -> str:
    """The pattern as a regular expression."""
    if pattern.startswith("**") and pattern[2:3] != "/" and _LITERAL.fullmatch(pattern[2:]):
        # Docker matches the end of the path here: **foo stands for barfoo too.
        return f".*{re.escape(pattern[2:])}"
    said = ""
    place = 0
    while place < len(pattern):
        character = pattern[place]
        place += 1
        if character == "*" and pattern[place : place + 1] == "*":
            place += 1
            if pattern[place : place + 1] == "/":
                place += 1
            said += ".*" if place == len(pattern) else "(?:.*/)?"
        elif character == "*":
            said += "[^/]*"
        elif character == "?":
            said += "[^/]"
        elif character == "\\":
            said += re.escape(pattern[place])
            place += 1
        elif character == "[":
            inside, place = _class(pattern, place)
            said += inside
        else:
            said += re.escape(character)
    return said


def _class(pattern: str, place: int) -> tuple[str, int]:
    """A class of characters (Go's filepath.Match), and the place after it."""
    negated = pattern[place] == "^"
    place += negated
    said = ""
    while pattern[place] != "]" or not said:
        if pattern[place] == "]":
            raise re.error("an empty []")
        low, place = _character(pattern, place)
        if pattern[place] == "-":
            high, place = _character(pattern, place + 1)
            if low > high:
                raise re.error(f"{low}-{high} is no range")
            said += f"{re.escape(low)}-{re.escape(high)}"
        else:
            said += re.escape(low)
    return f"(?!/)[{'^' if negated else ''}{said}]", place + 1


def _character(pattern: str, place: int) -> tuple[str, int]:
    if pattern[place] == "\\":
        place += 1
    elif pattern[place] in "-]":
        raise re.error(f"{pattern[place]!r} is out of place in []")
    return pattern[place], place + 1
