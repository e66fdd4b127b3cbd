"""Compares a request with the API's own model, and says what is wrong without a word of its values.

The SDK has such a check, whose messages print the values that it refuses; in a training job's request those
may be keys. As the SDK, this one leaves lists of known words and the lengths of texts to the service: they
grow with each of its releases.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch_agent.spec.problem import Problem

_SCALARS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("a text", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "long": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "float": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "double": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    # Never in what a queue can hold.
    "timestamp": ("a time", lambda value: not isinstance(value, Mapping | list)),
    "blob": ("bytes", lambda value: isinstance(value, str | bytes)),
}

NO_KEY = "is no key of the API"
_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A shape of an extract of the model, with the names that botocore gives its parts. `shapes` are all of
    the extract, each `{type, members, required, member, key, value, min}` with names of others."""

    shapes: Mapping[str, Mapping[str, Any]]
    name: str

    @property
    def type_name(self) -> str:
        return str(self._told["type"])

    @property
    def members(self) -> dict[str, Shape]:
        return {key: self._other(name) for key, name in self._told.get("members", {}).items()}

    @property
    def required_members(self) -> Sequence[str]:
        found: Sequence[str] = self._told.get("required", ())
        return found

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self._told

    @property
    def member(self) -> Shape:
        return self._other(self._told["member"])

    @property
    def key(self) -> Shape:
        return self._other(self._told["key"])

    @property
    def value(self) -> Shape:
        return self._other(self._told["value"])

    @property
    def _told(self) -> Mapping[str, Any]:
        return self.shapes[self.name]

    def _other(self, name: str) -> Shape:
        return Shape(shapes=self.shapes, name=name)


def extract(shape: Any) -> dict[str, dict[str, Any]]:
    """A shape of botocore's model and all below it, as `Shape` reads them."""
    found: dict[str, dict[str, Any]] = {}
    left = [shape]
    while left:
        each = left.pop()
        if each.name in found:
            continue
        told: dict[str, Any] = {"type": each.type_name}
        if least := each.metadata.get("min"):
            told["min"] = least
        if each.type_name == "structure":
            told["members"] = {key: member.name for key, member in each.members.items()}
            told["required"] = list(each.required_members)
            left += each.members.values()
        for part in {"list": ("member",), "map": ("key", "value")}.get(each.type_name, ()):
            told[part] = getattr(each, part).name
            left.append(getattr(each, part))
        found[each.name] = told
    return dict(sorted(found.items()))


def problems(shape: Any, value: Any, place: str = "") -> Iterator[Problem]:
    """`shape` is one of botocore's model, or a `Shape`."""
    kind = shape.type_name
    if kind == "structure":
        yield from _structure(shape, value, place)
    elif kind == "list":
        if not isinstance(value, list | tuple):
            yield Problem(place=place, why="is no list")
            return
        yield from _least(shape, len(value), place)
        for number, item in enumerate(value):
            yield from problems(shape.member, item, f"{place}[{number}]")
    elif kind == "map":
        if not isinstance(value, Mapping):
            yield Problem(place=place, why="is no mapping")
            return
        for key, item in value.items():
            yield from problems(shape.key, key, _join(place, str(key)))
            yield from problems(shape.value, item, _join(place, str(key)))
    else:
        wanted, fits = _SCALARS[kind]
        if not fits(value):
            yield Problem(place=place, why=f"is not {wanted}")
        elif kind == "string":
            yield from _least(shape, len(value), place)
        elif kind in ("integer", "long", "float", "double"):
            least = shape.metadata.get("min")
            if least is not None and value < least:
                yield Problem(place=place, why=f"is less than {least}")


def fitted(shape: Any, value: Any) -> Any:
    """A value with texts in the places of numbers and switches read as such: a macro or a template variable
    leaves nothing but texts."""
    kind = shape.type_name
    if isinstance(value, Mapping) and kind in ("structure", "map"):
        members = shape.members if kind == "structure" else {}
        inner = {key: shape.value if kind == "map" else members.get(key) for key in value}
        return {key: item if inner[key] is None else fitted(inner[key], item) for key, item in value.items()}
    if isinstance(value, list | tuple) and kind == "list":
        return [fitted(shape.member, item) for item in value]
    if not isinstance(value, str):
        return value
    if kind in ("integer", "long") and _WHOLE.fullmatch(value):
        return int(value)
    if kind == "boolean" and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def _structure(shape: Any, value: Any, place: str) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem(place=place, why="is no mapping")
        return
    for key in shape.required_members:
        if value.get(key) is None:
            yield Problem(place=_join(place, key), why="is missing")
    for key, item in value.items():
        if key not in shape.members:
            near = difflib.get_close_matches(str(key), list(shape.members), n=1)
            hint = f"did you mean {near[0]}?" if near else ""
            yield Problem(place=_join(place, str(key)), why=NO_KEY, hint=hint)
        elif item is not None:
            yield from problems(shape.members[key], item, _join(place, str(key)))


def _least(shape: Any, size: int, place: str) -> Iterator[Problem]:
    if size < shape.metadata.get("min", 0):
        yield Problem(place=place, why="is empty" if not size else "is too short")


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
