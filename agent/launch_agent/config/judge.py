"""All findings about one file, whatever kind of file it is and however broken.

Where `load` stops at the first error, this goes on: `launch-agent lint` and editors want everything at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from launch_agent.config import document, load, placeholder, queue, schema
from launch_agent.config.finding import Finding, Severity
from launch_agent.errors import ConfigError


class Kind(StrEnum):
    """The kinds of file that can be judged."""

    LAUNCH_CONFIG = "launch-config"
    QUEUE_CONFIG = "queue-config"


def judge(data: bytes, *, file: str, kind: Kind | None = None, named: bool = True) -> list[Finding]:
    """Every finding in the order of the file; `kind` None tells the kind by the file's keys.

    `named` is false for a file that was found in a folder: where its keys say nothing, it is left alone.
    """
    try:
        read = document.read(data, file=file)
    except ConfigError as error:
        return [_unreadable(error)]
    value = read.value
    kind = kind or kind_of(value)
    if isinstance(value, dict) and "launchConfig" in value:
        what = "this looks like a chart's values file; its keys are not checked"
        return schema.placed(
            [_not_checked(what, "check what is below launchConfig as a file of its own")], read
        )
    if kind is None and not named:
        return schema.placed([_not_checked("these are no keys of a launch config or queue config", "")], read)
    if kind is not Kind.QUEUE_CONFIG or not isinstance(value, dict):
        _, found = load.examine(read)
        return _with_advice(value, found, read)
    # A warning only: programs have tokens such as <s> of their own.
    found = [replace(each, severity=Severity.WARNING) for each in placeholder.findings(value, free=True)]
    unset = {finding.path for finding in found}
    found += [finding for finding in queue.findings(value) if finding.path not in unset]
    return schema.placed(found, read)


def kind_of(value: Any) -> Kind | None:
    """The kind by the keys; None where they are nobody's."""
    if not isinstance(value, Mapping):
        return None
    if _launch_keys() & value.keys():
        return Kind.LAUNCH_CONFIG
    return Kind.QUEUE_CONFIG if queue.is_wrapped(value) or queue.resource_of(value) else None


def _not_checked(message: str, hint: str) -> Finding:
    return Finding(severity=Severity.NOTE, code="not-checked", message=message, hint=hint)


def _launch_keys() -> frozenset[str]:
    # `name` is an option of docker run too, so it tells nothing.
    return frozenset(schema.load(load.SCHEMA)["properties"]) - {"name"}


def _with_advice(value: Any, found: list[Finding], read: document.Document) -> list[Finding]:
    if not isinstance(value, dict) or value.get("queues") or value.get("queue"):
        return found
    if any(finding.severity is Severity.ERROR for finding in found):
        return found
    note = Finding(
        severity=Severity.NOTE,
        code="no-queue",
        message="no queue is named here",
        hint="name one with 'queues: [<queue>]', or start the agent with -q <queue>",
    )
    return schema.placed([*found, note], read)


def _unreadable(error: ConfigError) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code="unreadable",
        message=f"{error.path}: {error.message}" if error.path else error.message,
        hint=error.hint,
        line=error.line,
        column=error.column,
    )
