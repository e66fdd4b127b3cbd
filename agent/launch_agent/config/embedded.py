"""A YAML text within a YAML file (`launchConfig: |`), read so that all places are those of the file.

Lines can be told for literal blocks only, where each line of the text is one of the file. What is quoted or
folded stands, as a whole, where it begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from launch_agent.config import document
from launch_agent.config.document import Document
from launch_agent.config.finding import Path, dotted
from launch_agent.errors import ConfigError

# What ends a line in YAML 1.1.
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_HEADER = re.compile(r"[|>][1-9+-]*[ \t]*(#.*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The document in the text at `path` of a file; `indent` is how far it is moved to the right there, None
    where its lines are not the file's."""

    value: Any
    _inner: Document = field(repr=False)
    _whole: tuple[int, int]
    _indent: int | None

    def place(self, path: Path, *, at_key: bool = False) -> tuple[int, int]:
        """Line and column in the outer file, of a path within the text."""
        if self._indent is None:
            return self._whole
        line, column = self._inner.place(path, at_key=at_key)
        return line, column + self._indent


def read(outer: Document, path: Path, text: str) -> Embedded:
    """Parse the text that stands at the path. Raises ConfigError with the outer file's lines."""
    whole = outer.place(path)
    header = _header(outer, path, whole[0])
    indent = None if header is None else _indent(outer.text, header, text)
    # Empty lines in front make the parser count as the file does, in its messages too.
    lead = "" if header is None else "\n" * header
    try:
        inner = document.read((lead + text).encode(), file=outer.file)
    except ConfigError as error:
        raise _outer(error, path, whole, indent) from error
    return Embedded(value=inner.value, _inner=inner, _whole=whole, _indent=indent)


def lines(outer: Document, path: Path, text: str) -> Callable[[int], tuple[int, int]]:
    """For the text at the path: from the number of a line of it, from 1, to line and column of the file."""
    whole = outer.place(path)
    header = _header(outer, path, whole[0])
    if header is None:
        return lambda number: whole
    column = _indent(outer.text, header, text) + 1
    return lambda number: (header + number, column)


def _header(outer: Document, path: Path, first: int) -> int | None:
    """The line of the `|` before a literal block. An anchor or a tag may stand before it, on lines of their
    own."""
    if outer.style(path) != "|":
        return None
    for number, line in enumerate(_BREAK.split(outer.text)[first - 1 :], first):
        if _HEADER.search(line):
            return number
    return None


def _indent(text: str, header: int, block: str) -> int:
    for raw, line in zip(_BREAK.split(text)[header:], _BREAK.split(block), strict=False):
        if line.strip() and raw.endswith(line):
            return len(raw) - len(line)
    return 0


def _outer(error: ConfigError, path: Path, whole: tuple[int, int], indent: int | None) -> ConfigError:
    line, column = whole
    message = error.message.replace("the file ", "the text ", 1)
    if indent is not None and error.line:
        line, column = error.line, error.column + indent
    elif error.line:
        message = f"in the text's line {error.line}: {message}"
    return ConfigError(
        message,
        path=dotted(path) + (f".{error.path}" if error.path else ""),
        file=error.file,
        line=line,
        column=column,
        hint=error.hint,
    )
