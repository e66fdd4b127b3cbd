"""The chart's values in one or several files, the launch config in them, and the findings about both."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from launch_agent.config import embedded
from launch_agent.config.embedded import Embedded
from launch_agent.config.finding import Finding, Path, Severity, follow
from launch_agent.config.merge import Merged
from launch_agent.config.values.recognise import CONFIG_KEYS
from launch_agent.errors import ConfigError

# What another program puts a value in place of before Helm sees it: SOPS, vals, envsubst, a template.
_FILLED_LATER = re.compile(r"ENC\[|ref\+|secretref\+|.*(\$\{|\{\{)", re.DOTALL)


def filled_later(value: Any) -> bool:
    """Whether the value is a text that is still to be decrypted or filled in, so that nothing can be said of
    it."""
    return isinstance(value, str) and _FILLED_LATER.match(value) is not None


@dataclass(slots=True, kw_only=True)
class View:
    """Values at `prefix` of the merged files. `key` is the one that holds the launch config, empty where none
    does; `config` is that config as a mapping, empty where it cannot be read; `findings` is by file."""

    merged: Merged
    prefix: Path
    value: Mapping[str, Any]
    key: str
    config: Mapping[str, Any] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    _embedded: Embedded | None = None

    @property
    def is_text(self) -> bool:
        return bool(self.key) and isinstance(self.value[self.key], str)

    def get(self, *path: str | int) -> Any:
        """The value at the path; None where it leads to nothing."""
        return follow(self.value, path)

    def of_config(self, *path: str | int) -> Any:
        """The value at the path of the launch config; None where it leads to nothing."""
        return follow(self.config, path)

    def read_config(self) -> Any:
        """The launch config as it stands there, after parsing where it is a text. Raises ConfigError."""
        value = self.value[self.key]
        if self.is_text:
            path = (*self.prefix, self.key)
            self._embedded = embedded.read(self.merged.owner(path), path, value)
            value = self._embedded.value
        self.config = value if isinstance(value, Mapping) else {}
        return value

    def say(
        self, severity: Severity, code: str, path: Path, message: str, *, hint: str = "", at_key: bool = False
    ) -> None:
        self.add(Finding(severity=severity, code=code, path=path, message=message, hint=hint, at_key=at_key))

    def add(self, finding: Finding) -> None:
        """Put the finding into the file that its path leads to, with its place."""
        file, line, column = self._place(finding.path, at_key=finding.at_key)
        self.put(file, replace(finding, path=(*self.prefix, *finding.path), line=line, column=column))

    def put(self, file: str, finding: Finding) -> None:
        self.findings.setdefault(file, []).append(finding)

    def lines(self, path: Path) -> Callable[[int], tuple[str, int, int]]:
        """For a text at the path: from the number of one of its lines, from 1, to file, line and column."""
        full = (*self.prefix, *path)
        owner = self.merged.owner(full)
        at = embedded.lines(owner, full, str(follow(self.value, path)))
        return lambda number: (owner.file, *at(number))

    def _place(self, path: Path, *, at_key: bool) -> tuple[str, int, int]:
        if self._embedded is not None and path[:1] == (self.key,) and len(path) > 1:
            owner = self.merged.owner((*self.prefix, self.key))
            return (owner.file, *self._embedded.place(path[1:], at_key=at_key))
        return self.merged.place((*self.prefix, *path), at_key=at_key)


def view(merged: Merged, prefix: Path) -> View:
    """The values at that prefix. Their launch config is read by `View.read_config`."""
    value = follow(merged.value, prefix)
    values = value if isinstance(value, Mapping) else {}
    key = next((key for key in CONFIG_KEYS if values.get(key) not in (None, "")), "")
    return View(merged=merged, prefix=prefix, value=values, key=key)


def unreadable(seen: View, error: ConfigError) -> None:
    """The finding that a config text which cannot be read amounts to."""
    path = (*seen.prefix, seen.key)
    finding = Finding(
        severity=Severity.ERROR,
        code="unreadable",
        message=error.message,
        path=path,
        hint=error.hint,
        line=error.line,
        column=error.column,
    )
    seen.put(seen.merged.owner(path).file, finding)
