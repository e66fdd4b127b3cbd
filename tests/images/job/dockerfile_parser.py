"""Reads a Dockerfile the way BuildKit does, as far as instructions go: where one begins, and what it says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_DIRECTIVE = re.compile(r"#\s*(?P<name>[a-zA-Z]+)\s*=\s*(?P<value>.+?)\s*")
_HEREDOC = re.compile(r"<<-?\s*['\"]?[A-Za-z_]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    keyword: str
    rest: str

    def words(self) -> list[str]:
        """The words of an instruction in exec form."""
        found = json.loads(self.rest)
        assert isinstance(found, list)
        assert all(isinstance(word, str) for word in found)
        return found


def parse(text: str) -> list[Instruction]:
    """Raises AssertionError for what would change how the rest is read."""
    found: list[Instruction] = []
    pending = ""
    # Docker splits at line feeds; others of Python's line ends are characters to it.
    for number, line in enumerate(text.split("\n")):
        assert not (number == 0 and _DIRECTIVE.fullmatch(line)), "a parser directive"
        assert "\r" not in line
        if line.lstrip().startswith("#"):
            continue
        if not line.strip() and not pending:
            continue
        if line.rstrip(" \t").endswith("\\"):
            pending += line.rstrip(" \t")[:-1]
            continue
        keyword, _, rest = (pending + line).strip().partition(" ")
        pending = ""
        assert re.fullmatch("[A-Z]+", keyword), f"no instruction: {keyword!r}"
        assert not (keyword in ("RUN", "COPY", "ADD") and _HEREDOC.search(rest)), "a here-document"
        found.append(Instruction(keyword=keyword, rest=rest.strip()))
    assert not pending
    return found
