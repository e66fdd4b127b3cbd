"""Every value has an effect, and every value that a template uses can be set.

A leaf of the schema is set to something else, and what the chart renders must change (or be refused, which is
an effect too). So a value that is documented and forgotten, as some of the official chart's are, cannot stay.
Leaves that have none on purpose are listed in values-without-effect.txt, each with its reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.helm import CHART, Helm, HelmFailed, documents

# What is inside of these is the agent's, not the chart's.
OPAQUE = ("launchConfig", "agentConfig")
# A step of a path: into the items of a list.
ITEM = "[]"
EXCEPTIONS = Path(__file__).with_name("values-without-effect.txt")
EVERYTHING = Path(__file__).with_name("everything-values.yaml")

Value = Any
Path_ = tuple[str, ...]


@cache
def schema() -> dict[str, Any]:
    return dict(json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")))


def resolve(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of the schema with its `$ref` followed; the schema is one file, so all are local."""
    while "$ref" in part:
        found: Any = schema()
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def leaves(part: Mapping[str, Any], path: Path_ = ()) -> Iterator[tuple[Path_, Mapping[str, Any]]]:
    """Every path that holds a value of its own: no object of the chart's own keys."""
    part = resolve(part)
    if path and (path[0] in OPAQUE or not part.get("properties")):
        yield path, part
        items = resolve(part.get("items", {}))
        for key in set(items.get("properties", {})) - set(items.get("required", [])):
            yield (*path, ITEM, key), items
        return
    for key, child in part["properties"].items():
        yield from leaves(child, (*path, key))


def other(part: Mapping[str, Any], before: Value) -> Iterator[Value]:
    """Values that a part of the schema allows and that are not `before`, best first."""
    part = resolve(part)
    candidates = [*part.get("examples", []), *part.get("enum", [])]
    kinds = part.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind == "boolean":
            candidates += [True, False]
        elif kind == "integer":
            candidates += [max(int(part.get("minimum", 0)), 0) + 1, 7]
        elif kind == "string":
            candidates += ["probe-value", "443", "45s", f"sha256:{'0' * 64}", "https://probe.example.com"]
        elif kind == "array":
            items = resolve(part.get("items", {}))
            candidates += [[value] for value in list(other(items, None))[:3]]
        elif kind == "object":
            candidates += whole_objects(part)
    for candidate in candidates:
        if candidate != before:
            yield candidate


def whole_objects(part: Mapping[str, Any]) -> Iterator[dict[str, Value]]:
    """Mappings that a part of the schema allows: with what it requires, or with one key of any name."""
    if known := part.get("properties"):
        wanted = part.get("required", list(known))
        yield {key: sample(known[key]) for key in wanted}
        return
    inner = part.get("additionalProperties")
    for value in list(other(inner, None))[:3] if isinstance(inner, Mapping) else ["probe-value"]:
        yield {"probe": value}


def sample(part: Mapping[str, Any]) -> Value:
    return next(other(part, None), None)


def looked_up(values: Mapping[str, Any], path: Path_) -> Value:
    found: Any = values
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def nested(path: Path_, value: Value) -> dict[str, Any]:
    for step in reversed(path):
        value = {step: value}
    return dict(value)


def exceptions() -> dict[str, str]:
    """Path and reason of each line: `path: reason`."""
    lines = [line for line in EXCEPTIONS.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return dict(line.split(": ", 1) for line in lines)


def changes(path: Path_, part: Mapping[str, Any], base: dict[str, Any]) -> Iterator[tuple[Value, Value]]:
    """Pairs of values to lay over a base that differ at this path alone."""
    if ITEM in path:
        *outer, _, key = path
        required = next(whole_objects(part))
        for value in other(part["properties"][key], None):
            yield nested(tuple(outer), [required]), nested(tuple(outer), [{**required, key: value}])
        return
    for value in other(part, looked_up(base, path)):
        yield {}, nested(path, value)


def has_effect(helm: Helm, path: Path_, part: Mapping[str, Any], bases: Sequence[dict[str, Any]]) -> bool:
    """Whether some other value at this path renders something else, or is refused by a template."""
    for base in bases:
        for before, after in changes(path, part, base):
            try:
                if render(helm, base, before) != render(helm, base, after):
                    return True
            except HelmFailed as refused:
                # The schema's refusal shows nothing; a template's shows that somebody looked.
                if "values don't meet" not in str(refused):
                    return True
    return False


def render(helm: Helm, base: dict[str, Any], more: dict[str, Any]) -> str:
    return _render(helm, json.dumps(base), json.dumps(more))


@cache
def _render(helm: Helm, base: str, more: str) -> str:
    """By value, since the unchanged base is rendered for each leaf. Both are JSON texts."""
    merged = deep_merge(json.loads(base), json.loads(more))
    return helm.run("template", "gpu", CHART, "-n", "ml", "-f", "-", stdin=json.dumps(merged))


def deep_merge(under: Value, over: Value) -> Value:
    """As Helm lays one file over another."""
    if not (isinstance(under, Mapping) and isinstance(over, Mapping)):
        return over
    return {**under, **{key: deep_merge(under.get(key), value) for key, value in over.items()}}


def groups() -> list[str]:
    return list(schema()["properties"]) if (CHART / "values.schema.json").exists() else []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", groups())
def test_every_leaf_of_the_schema_has_an_effect(helm: Helm, group: str) -> None:
    bases = list(documents(EVERYTHING.read_text(encoding="utf-8")))
    part = schema()["properties"][group]
    wanted = [each for each in leaves(part, (group,)) if ".".join(each[0]) not in exceptions()]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: has_effect(helm, each[0], each[1], bases), wanted))
    dead = [".".join(path) for (path, _), effect in zip(wanted, found, strict=True) if not effect]
    assert dead == [], "values without effect"


def test_the_exceptions_are_leaves_of_the_schema() -> None:
    known = {".".join(path) for path, _ in leaves(schema())}
    assert set(exceptions()) <= known


def test_every_value_that_a_template_uses_is_in_the_schema() -> None:
    """Literal paths only; one that is put together at run time is caught by the test above."""
    used = set()
    for file in sorted((CHART / "templates").rglob("*")):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            used |= {
                tuple(found.split("."))
                for found in re.findall(r"\.Values\.([A-Za-z0-9_.]*[A-Za-z0-9_])", text)
            }
    assert used
    unknown = [".".join(path) for path in sorted(used) if not is_known(path)]
    assert unknown == []


def is_known(path: Path_) -> bool:
    part: Mapping[str, Any] = schema()
    for step in path:
        part = resolve(part)
        if step in part.get("properties", {}):
            part = part["properties"][step]
        elif isinstance(part.get("additionalProperties"), Mapping):
            part = part["additionalProperties"]
        else:
            return part.get("additionalProperties") is not False
    return True
