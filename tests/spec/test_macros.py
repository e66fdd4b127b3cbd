"""Macros: six names, text values alone, one pass, and never the agent's environment."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.spec.macros import NAMES, fill, macros_for, unknown
from launch_agent.spec.model import RunIdentity, RunSpec

VALUES = {name: f"<{name}>" for name in NAMES}
IDENTITY = RunIdentity(
    agent="a", item_id="i", queue="q", queue_entity="qe", run_id="r1", entity="team", project="proj"
)
SPEC = RunSpec(entity="other", project="other", resource="kubernetes", name="my run", author="alice")


def test_the_documented_macros_and_no_other() -> None:
    assert macros_for(SPEC, IDENTITY, "img:1") == {
        "project_name": "proj",
        "entity_name": "team",
        "run_id": "r1",
        "run_name": "my run",
        "image_uri": "img:1",
        "author": "alice",
    }
    assert macros_for(SPEC, IDENTITY, "").keys() == NAMES


def test_values_are_filled_at_any_depth_and_keys_are_not() -> None:
    filled = fill(
        {"${run_id}": ["${run_id}", {"x": "a-${project_name}-${author}"}], "n": 3, "none": None}, VALUES
    )
    assert filled == {
        "${run_id}": ["<run_id>", {"x": "a-<project_name>-<author>"}],
        "n": 3,
        "none": None,
    }


def test_what_was_filled_in_is_not_filled_again() -> None:
    assert fill("${run_name}", {"run_name": "${author}", "author": "eve"}) == "${author}"
    assert fill("${run_name}author}", {"run_name": "${", "author": "eve"}) == "${author}"


def test_a_macro_without_a_value_becomes_nothing() -> None:
    assert fill("a${run_name}b", {"run_name": None}) == "ab"
    assert fill("a${run_name}b", {}) == "ab"


def test_the_environment_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """openings K7."""
    monkeypatch.setenv("WANDB_API_KEY", "do-not-tell")
    value = ["${WANDB_API_KEY}", "$WANDB_API_KEY", "${HOME}", "${PATH}"]
    assert fill(value, VALUES) == value
    assert fill("${WANDB_API_KEY}", {**VALUES, **os.environ}) == "${WANDB_API_KEY}"


def test_unknown_names_are_found_for_a_warning() -> None:
    value = {"${KEY}": ["${run_nme}", {"a": "${HOME}/${run_id}"}], "shell": "${X:-1} $Y $(Z)", "n": 1}
    assert unknown(value) == {"run_nme", "HOME"}
    assert unknown({"a": ["${author}", None, True, 2.5]}) == frozenset()


PIECES = st.lists(
    st.sampled_from([*(f"${{{name}}}" for name in sorted(NAMES)), "${OTHER}", "${", "}", "$", "run_id"])
    | st.text(max_size=4),
    max_size=6,
).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | PIECES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PIECES, inner, max_size=4),
    max_leaves=15,
)


@given(JSON)
def test_filling_with_the_macros_themselves_changes_nothing(value: Any) -> None:
    assert fill(value, {name: f"${{{name}}}" for name in NAMES}) == value


@given(JSON, st.dictionaries(st.sampled_from(sorted(NAMES)), PIECES))
def test_shape_and_keys_stay(value: Any, macros: dict[str, str]) -> None:
    def shape(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: shape(inner) for key, inner in item.items()}
        return [shape(inner) for inner in item] if isinstance(item, list) else type(item)

    filled = fill(value, macros)
    assert shape(filled) == shape(value)


@given(st.text(alphabet="abc ${}_", max_size=12))
def test_text_without_a_macro_stays_to_the_letter(text: str) -> None:
    assert fill(text, VALUES) == text
