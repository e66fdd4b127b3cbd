"""JSON Schemas, applied: findings with positions in place of a validator's own words, and defaults.

The schemas are the one truth of keys, defaults and descriptions. They lie in `launch_agent/schemas` of an
installed package and in `schemas/` of a source checkout. `jsonschema` is imported at the first validation,
since it takes longer to import than everything else of the command line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path as FilePath
from typing import Any

from launch_agent.config.complaint import complaints
from launch_agent.config.document import Document
from launch_agent.config.finding import Finding, Path, Severity, stop

Schema = dict[str, Any]
# The most findings about one file. Nobody reads more, and looking for the nearest key takes time.
MOST = 200


@cache
def folder() -> FilePath:
    """Where the schemas lie."""
    package = FilePath(__file__).parents[1]
    installed = package / "schemas"
    return installed if installed.is_dir() else package.parents[1] / "schemas"


@cache
def load(name: str) -> Schema:
    """The schema of that name (`launch-config`, `run-spec`, …) with every reference put in its place."""
    return bundle(name, folder())


def bundle(name: str, source: FilePath) -> Schema:
    """Read `<name>.json` and inline its references, so that the result needs no other file."""
    root = json.loads((source / f"{name}.json").read_text(encoding="utf-8"))
    inlined = _inline(root, root, source)
    assert isinstance(inlined, dict)
    inlined.pop("definitions", None)
    return inlined


def _inline(node: Any, root: Schema, source: FilePath) -> Any:
    if isinstance(node, list):
        return [_inline(item, root, source) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return {key: _inline(value, root, source) for key, value in node.items()}
    beside = {key: _inline(value, root, source) for key, value in node.items() if key != "$ref"}
    file, _, pointer = reference.partition("#")
    if file:
        target = bundle(file.removesuffix(".json"), source)
        target.pop("$schema", None)
    else:
        target = root
        for part in pointer.strip("/").split("/"):
            target = target[part]
        target = _inline(target, root, source)
    return {**target, **beside}


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft7Validator  # noqa: PLC0415 - a tenth of a second that --help does not need

    return Draft7Validator(load(name))


def findings(name: str, value: Any, document: Document | None = None) -> list[Finding]:
    """Everything in which the value departs from the schema of that name, in the order of the file."""
    every = (finding for error in _validator(name).iter_errors(value) for finding in complaints(error))
    found = list(islice(every, MOST + 1))
    misspelt = {(*finding.path[:-1], finding.meant) for finding in found if finding.meant}
    unique = {
        (finding.path, finding.code, finding.message): finding
        for finding in found
        if finding.code != "missing-key" or finding.path not in misspelt
    }
    if len(found) > MOST:
        message = f"there are more than {MOST} findings; the rest is not shown"
        unique[(), "", ""] = Finding(severity=Severity.ERROR, code="too-many", message=message)
    return placed(list(unique.values()), document)


def placed(found: list[Finding], document: Document | None) -> list[Finding]:
    """The findings with their lines and columns, sorted by them."""
    if document is not None:
        located = []
        for finding in found:
            line, column = document.place(finding.path, at_key=finding.at_key)
            located.append(replace(finding, line=line, column=column))
        found = located
    return sorted(found, key=lambda finding: (finding.line, finding.column, finding.key))


def validate(name: str, value: Any, *, file: str = "") -> None:
    """Raise ConfigError for a value that does not conform; `file` says whose it is in the message."""
    stop(findings(name, value), file=file or name.replace("-", " "))


def fill(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the value with the schema's defaults where the value says nothing. Null says nothing."""
    filled = _fill(load(name), value)
    assert isinstance(filled, dict)
    return filled


def _fill(schema: Schema, value: Any) -> Any:
    if not isinstance(value, Mapping) or "properties" not in schema:
        return value
    result = {key: item for key, item in value.items() if item is not None}
    for key, part in schema["properties"].items():
        if key in result:
            result[key] = _fill(part, result[key])
        elif "default" in part:
            result[key] = _fill(part, json.loads(json.dumps(part["default"])))
    return result


def properties(name: str) -> Iterator[tuple[Path, Schema]]:
    """Every described property of the schema with its path, depth first."""

    def walk(schema: Schema, path: Path) -> Iterator[tuple[Path, Schema]]:
        for key, part in schema.get("properties", {}).items():
            yield (*path, key), part
            yield from walk(part, (*path, key))

    return walk(load(name), ())
