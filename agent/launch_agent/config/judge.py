"""All findings about one file, or about values files that are merged, whatever is in them and however broken.

Where `load` stops at the first error, this goes on: `launch-agent lint` and editors want everything at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from launch_agent.config import document, load, placeholder, queue, schema
from launch_agent.config.document import Document
from launch_agent.config.finding import Finding, Severity
from launch_agent.config.values import judge as values
from launch_agent.config.values import recognise
from launch_agent.errors import ConfigError


class Kind(StrEnum):
    """The kinds of file that can be judged."""

    LAUNCH_CONFIG = "launch-config"
    QUEUE_CONFIG = "queue-config"
    CHART_VALUES = "chart-values"


def judge(data: bytes, *, file: str, kind: Kind | None = None, named: bool = True) -> list[Finding]:
    """Every finding in the order of the file; `kind` None tells the kind by the file's keys.

    `named` is false for a file that was found in a folder: where its keys say nothing, it is left alone.
    """
    try:
        read = document.read(data, file=file)
    except ConfigError as error:
        # In folders lie manifests, several in one file, and templates, which are YAML later.
        foreign = not named and (error.message == document.MANY or b"{{" in data)
        return [_not_checked(error.message)] if foreign else [unreadable(error)]
    value = read.value
    kind = kind or kind_of(value, named=named)
    if kind is Kind.CHART_VALUES and isinstance(value, dict):
        return _values(data, file)
    if kind is None and not named:
        return leave(read)
    if kind is not Kind.QUEUE_CONFIG or not isinstance(value, dict):
        _, found = load.examine(read)
        return _with_advice(value, found, read)
    # A warning only: programs have tokens such as <s> of their own.
    found = [replace(each, severity=Severity.WARNING) for each in placeholder.findings(value, free=True)]
    unset = {finding.path for finding in found}
    found += [finding for finding in queue.findings(value) if finding.path not in unset]
    return schema.placed(found, read)


def _values(data: bytes, file: str) -> list[Finding]:
    try:
        return values.judge([layer(data, file=file)])[file]
    except ConfigError as error:
        return [unreadable(error)]


def layer(data: bytes, *, file: str) -> Document:
    """A values file as Helm reads it, to be merged with others. One that says nothing adds nothing. Raises
    ConfigError where it is no mapping."""
    lines = (line.strip() for line in data.splitlines())
    says_something = any(line and line != b"---" and not line.startswith(b"#") for line in lines)
    read = document.read(data if says_something else b"{}", file=file, for_helm=True)
    if not isinstance(read.value, dict | None):
        raise ConfigError("values must be a mapping of keys to values", file=file, line=1, column=1)
    return read


def judge_merged(layers: Sequence[Document]) -> dict[str, list[Finding]]:
    """Every finding about the values that Helm makes of the files, by the file that the value came from."""
    return values.judge(layers, complete=True)


def kind_of(value: Any, *, named: bool = True) -> Kind | None:
    """The kind by the keys; None where they are nobody's. `named` is that of `judge`."""
    if not isinstance(value, Mapping):
        return None
    if recognise.is_values(value, named=named):
        return Kind.CHART_VALUES
    if _launch_keys() & value.keys():
        return Kind.LAUNCH_CONFIG
    if recognise.inner(value):
        return Kind.CHART_VALUES
    if queue.is_wrapped(value):
        return Kind.QUEUE_CONFIG
    resource = queue.resource_of(value)
    # Options of docker run have everyday names, such as `name`; most keys of a file must be among them.
    doubtful = resource == "local-container" and not named and not queue.is_mostly_docker(value)
    return Kind.QUEUE_CONFIG if resource and not doubtful else None


def leave(read: Document) -> list[Finding]:
    """The note about a file that was found in a folder and is of none of the kinds."""
    message = "these are no keys of a launch config, a queue config or values of the chart"
    return schema.placed([_not_checked(message)], read)


def _not_checked(message: str) -> Finding:
    return Finding(severity=Severity.NOTE, code="not-checked", message=message)


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


def unreadable(error: ConfigError) -> Finding:
    """The finding that a file which cannot be read amounts to."""
    return Finding(
        severity=Severity.ERROR,
        code="unreadable",
        message=f"{error.path}: {error.message}" if error.path else error.message,
        hint=error.hint,
        line=error.line,
        column=error.column,
    )
