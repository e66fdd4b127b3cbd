"""Values files merged as Helm does, and every value's file told."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.config.document import Document, read
from launch_agent.config.finding import Path
from launch_agent.config.merge import merge

# Few keys, so that layers meet each other.
keys = st.sampled_from("abc")
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
layers = st.lists(st.dictionaries(keys, values, max_size=3), min_size=1, max_size=4)


def documents(*texts: str) -> list[Document]:
    return [read(text.encode(), file=f"{number}.yaml") for number, text in enumerate(texts)]


@pytest.mark.req("CARD-8")
@pytest.mark.parametrize(
    ("base", "top", "merged"),
    [
        ("a: {b: 1, c: 2}", "a: {c: 3}", {"a": {"b": 1, "c": 3}}),
        ("a: [1, 2]", "a: [3]", {"a": [3]}),
        ("a: {b: 1}", "a: text", {"a": "text"}),
        ("a: text", "a: {b: 1}", {"a": {"b": 1}}),
        ("a: {b: 1}", "a: null", {"a": None}),
        ("a: {b: 1}", "a: {b: null}", {"a": {"b": None}}),
        ("a: {b: 1}", "a: {}", {"a": {"b": 1}}),
        ("a: 1", "# nothing\n{}", {"a": 1}),
    ],
)
def test_the_rules(base: str, top: str, merged: object) -> None:
    assert merge(documents(base, top)).value == merged


def test_a_layer_that_is_no_mapping_adds_nothing() -> None:
    assert merge(documents("a: 1", "- 2", "null")).value == {"a": 1}


@given(layers)
def test_layers_are_laid_one_over_the_other(given_layers: list[dict[str, Any]]) -> None:
    """Merging all is merging the first ones, and the rest over that."""
    read_layers = documents(*map(yaml.safe_dump, given_layers))
    whole = merge(read_layers).value
    for split in range(1, len(read_layers)):
        first = read(yaml.safe_dump(merge(read_layers[:split]).value).encode(), file="first")
        assert merge([first, *read_layers[split:]]).value == whole


@given(layers)
def test_the_owner_of_a_value_holds_it(given_layers: list[dict[str, Any]]) -> None:
    merged = merge(documents(*map(yaml.safe_dump, given_layers)))
    for path, value in _leaves(merged.value, ()):
        owner = merged.owner(path)
        assert _at(owner.value, path) == value
        later = merged.layers[merged.layers.index(owner) + 1 :]
        assert all(_at(layer.value, path) is _MISSING for layer in later)
        file, line, column = merged.place(path)
        assert (file, line, column) == (owner.file, *owner.place(path))


def test_places() -> None:
    merged = merge(documents("a:\n  b: 1\n  c: 2\n", "d: 1\na:\n  c: 3\n"))
    assert merged.place(("a", "b")) == ("0.yaml", 2, 6)
    assert merged.place(("a", "b"), at_key=True) == ("0.yaml", 2, 3)
    assert merged.place(("a", "c")) == ("1.yaml", 3, 6)
    assert merged.place(("a",)) == ("1.yaml", 3, 3)
    assert merged.place(("a", "missing"), at_key=True) == ("1.yaml", 2, 1)
    assert merged.place(("missing",)) == ("1.yaml", 1, 1)


def test_a_mapping_that_was_replaced_in_between_has_no_part() -> None:
    merged = merge(documents("a: {b: 1}", "a: null", "a: {c: 1}"))
    assert merged.value == {"a": {"c": 1}}
    assert merged.owner(("a", "b")).file == "2.yaml"


_MISSING = object()


def _leaves(value: Any, path: Path) -> list[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    return [] if isinstance(value, dict) else [(path, value)]


def _at(value: Any, path: Path) -> Any:
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return _MISSING
        value = value[part]
    return value
