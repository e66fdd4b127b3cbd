"""A YAML text as plain values, and where each of them stands.

PyYAML's own constructor is not used: it forgets positions, takes the last of two equal keys, makes dates of
texts, and lets a small file with nested aliases grow without bounds. This file builds its own tree from
libyaml's events, without recursion, so that a hostile file is an error message and not a crash.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from launch_agent.config import goyaml
from launch_agent.config.finding import Path, dotted
from launch_agent.errors import ConfigError

# 1 MiB: a Kubernetes ConfigMap holds no more, so no config that can be deployed is longer.
LARGEST = 1024 * 1024
_DEEPEST = 64
MANY = "the file holds more than one YAML document"
# Aliases counted as often as they are used. The largest config with a use is a hundredth of it.
_MOST_VALUES = 10_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"


class _Resolver(Resolver):
    """YAML 1.1 without dates: a date is the text that it was written as, as in JSON."""


_Resolver.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in entries if tag != f"{_TAG}timestamp"]
    for first, entries in Resolver.yaml_implicit_resolvers.items()
}


@dataclass(slots=True, eq=False)
class _Node:
    """A value with its place. `keys` holds the places of a mapping's keys; `size` counts the values below,
    aliases as often as they are used; `style` is the first character of a quoted or block scalar."""

    value: Any
    line: int
    column: int
    children: dict[str | int, _Node] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    size: int = 1
    depth: int = 0
    merges: list[_Node] = field(default_factory=list)
    done: bool = False
    style: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A read YAML document. `value` is made of dict, list, str, int, float, bool and None only; `text` is
    what it was read from."""

    file: str
    value: Any
    text: str = field(repr=False)
    _root: _Node = field(repr=False)

    def place(self, path: Path, *, at_key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at the path, or of its key; where the path leads to nothing,
        of the nearest thing above it."""
        node = self._root
        last = (node.line, node.column)
        for index, part in enumerate(path):
            child = node.children.get(part)
            if child is None:
                break
            ends = index == len(path) - 1
            wants_key = (at_key or not ends) and isinstance(part, str)
            last = (
                node.keys.get(str(part), (child.line, child.column))
                if wants_key
                else (child.line, child.column)
            )
            node = child
        return last

    def style(self, path: Path) -> str:
        """How the scalar at the path is written: `|`, `>`, a quotation mark; empty for plain ones."""
        node: _Node | None = self._root
        for part in path:
            node = node.children.get(part) if node else None
        return node.style if node else ""


def read(data: bytes, *, file: str, for_helm: bool = False) -> Document:
    """Parse one YAML document. Raises ConfigError that names file, line, column and cure. With `for_helm`
    plain scalars are what Helm takes them for."""
    if len(data) > LARGEST:
        raise ConfigError(
            f"the file is larger than {LARGEST // 1024} KiB", file=file, hint="is this the right file?"
        )
    text = _decode(data, file)
    try:
        root = _Builder(file, for_helm).build(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, file) from error
    return Document(file=file, value=root.value, text=text, _root=root)


class _Builder:
    """Builds the tree from events, with a stack of its own."""

    def __init__(self, file: str, for_helm: bool) -> None:
        self._file = file
        self._for_helm = for_helm
        self._resolver: Any = _Resolver()
        self._constructor = SafeConstructor()
        self._anchors: dict[str, _Node] = {}
        self._stack: list[tuple[_Node, bool]] = []
        # For each open mapping the key that waits for its value, its place, and whether it is a merge `<<`.
        self._pending: list[tuple[str, int, int, bool] | None] = []

    def build(self, events: Iterator[Any]) -> _Node:
        root: _Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise self._error(MANY, event, "remove the line '---'")
            node = self._node(event)
            if node is None:
                continue
            if root is None:
                root = node
            elif not self._stack or not self._attach(event, node):
                continue
            if isinstance(event, yaml.CollectionStartEvent):
                if len(self._stack) >= _DEEPEST:
                    self._stack.clear()
                    self._pending.clear()
                    raise self._error(f"values are nested more than {_DEEPEST} deep", event)
                self._stack.append((node, isinstance(event, yaml.MappingStartEvent)))
                self._pending.append(None)
        if root is None:
            raise ConfigError("the file is empty", file=self._file)
        return root

    def _node(self, event: Any) -> _Node | None:
        """The node that begins or is meant by the event; None for events that end or frame something."""
        if isinstance(event, yaml.CollectionEndEvent):
            self._end(event)
            return None
        if isinstance(event, yaml.AliasEvent):
            found = self._anchors.get(str(event.anchor))
            if found is None:
                raise self._error(f"the alias *{event.anchor} has no anchor before it", event)
            if not found.done:
                raise self._error(f"the alias *{event.anchor} stands within its own anchor", event)
            return found
        node: _Node
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(self._scalar(event), *_begin(event), done=True, style=event.style or "")
        elif isinstance(event, yaml.CollectionStartEvent):
            kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
            if event.tag not in (None, "!", f"{_TAG}{kind}"):
                raise self._error(
                    f"the tag {_shown(str(event.tag))} is not supported", event, "remove the tag"
                )
            node = _Node({} if kind == "map" else [], *_begin(event))
        else:
            return None
        if event.anchor:
            self._anchors[str(event.anchor)] = node
        return node

    def _attach(self, event: Any, node: _Node) -> bool:
        """Put the node where it belongs; False where it was taken as a mapping's key."""
        parent, is_mapping = self._stack[-1]
        if not is_mapping:
            parent.children[len(parent.value)] = node
            parent.value.append(node.value)
            return True
        pending = self._pending[-1]
        if pending is None:
            self._pending[-1] = self._key(event, node, parent)
            return False
        key, line, column, is_merge = pending
        self._pending[-1] = None
        if is_merge:
            parent.merges.append(node)
            return True
        parent.children[key] = node
        parent.keys[key] = (line, column)
        parent.value[key] = node.value
        return True

    def _key(self, event: Any, node: _Node, parent: _Node) -> tuple[str, int, int, bool]:
        line, column = _begin(event)
        if not isinstance(node.value, str):
            what = "a list or mapping" if isinstance(node.value, dict | list) else f"{node.value!r}"
            raise self._error(f"a key must be a text, not {what}", event, "put the key in quotes")
        if node.value in parent.keys:
            first = parent.keys[node.value][0]
            raise self._error(
                f"the key {node.value!r} stands here for the second time; the first is on line {first}",
                event,
                "keep one of the two",
            )
        is_merge = node.value == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        return node.value, line, column, is_merge

    def _end(self, event: Any) -> None:
        node, _ = self._stack.pop()
        self._pending.pop()
        for merged in node.merges:
            for source in merged.children.values() if isinstance(merged.value, list) else [merged]:
                if not isinstance(source.value, dict):
                    raise self._error("'<<' takes a mapping or a list of mappings", event)
                for key, child in source.children.items():
                    if key not in node.children:
                        node.children[key] = child
                        node.keys[str(key)] = source.keys[str(key)]
                        node.value[key] = child.value
        node.size = 1 + sum(child.size for child in node.children.values())
        node.depth = 1 + max((child.depth for child in node.children.values()), default=0)
        node.done = True
        if node.size > _MOST_VALUES:
            raise self._error(
                f"the file holds more than {_MOST_VALUES:,} values, each alias counted in full", event
            )
        if node.depth + len(self._stack) > _DEEPEST:
            raise self._error(f"values are nested more than {_DEEPEST} deep", event)

    def _scalar(self, event: Any) -> Any:
        """The value of a scalar by YAML 1.1's rules, as PyYAML has them."""
        tag = event.tag
        if tag is None or tag == "!":
            if not event.implicit[0] or tag == "!":
                return event.value
            if self._for_helm:
                return self._finite(goyaml.resolve(event.value), event)
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        kind = str(tag).removeprefix(_TAG)
        if kind in ("str", "merge", "value"):
            return event.value
        if kind == "null":
            return None
        if kind not in ("bool", "int", "float"):
            raise self._error(f"the tag {_shown(tag)} is not supported", event, "remove the tag")
        node = yaml.ScalarNode(str(tag), event.value)
        try:
            value = getattr(self._constructor, f"construct_yaml_{kind}")(node)
        except (ValueError, KeyError, IndexError, OverflowError) as error:
            raise self._error(
                f"{event.value[:40]!r} cannot be read as {kind}", event, "put it in quotes"
            ) from error
        return self._finite(value, event)

    def _finite(self, value: Any, event: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(f"{event.value!r} is not a finite number", event)
        return value

    def _error(self, message: str, event: Any, hint: str = "") -> ConfigError:
        path: list[str | int] = []
        for level, ((node, is_mapping), pending) in enumerate(zip(self._stack, self._pending, strict=True)):
            if level < len(self._stack) - 1:
                path.append(next(reversed(node.children)))
            elif not is_mapping:
                path.append(len(node.value))
            elif pending is not None:
                path.append(pending[0])
        line, column = _begin(event)
        return ConfigError(message, path=dotted(path), file=self._file, line=line, column=column, hint=hint)


def _begin(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _shown(tag: str) -> str:
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise ConfigError(
            f"the byte 0x{data[error.start]:02x} is not UTF-8",
            file=file,
            line=line,
            column=column,
            hint="save the file as UTF-8",
        ) from error


def _syntax_error(error: yaml.YAMLError, text: str, file: str) -> ConfigError:
    """libyaml's complaint in our words; tabs, which it names only by accident, are named with their lines."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", 0)
        # The reader counts bytes; the line is exact, as line feeds are one byte in UTF-8.
        line = text.encode()[:position].count(b"\n") + 1
        return ConfigError(
            "the file holds a character that YAML does not allow", file=file, line=line, column=1
        )
    tabs = [
        number
        for number, row in enumerate(text.splitlines(), 1)
        if "\t" in row[: len(row) - len(row.lstrip(" \t"))]
    ]
    near = [number for number in tabs if number <= mark.line + 2]
    if near:
        also = (
            f" (so are lines {', '.join(map(str, tabs[1:9]))}{' …' if len(tabs) > 9 else ''})"
            if tabs[1:]
            else ""
        )
        return ConfigError(
            f"line {tabs[0]} is indented with a tab{also}; YAML indents with spaces only",
            file=file,
            line=tabs[0],
            column=1,
            hint="put two spaces in place of each tab",
        )
    problem = str(getattr(error, "problem", "") or getattr(error, "context", "") or "unreadable")
    return ConfigError(f"this is not YAML: {problem}", file=file, line=mark.line + 1, column=mark.column + 1)
