"""Merging and filling, as pure functions of every input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import ConfigError
from launch_agent.server.queueconfig import fill, merge, merge_spec, read_config, read_variables
from launch_agent.server.store.rows import ResourceConfigRow

_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=10,
)
_MAPS = st.dictionaries(st.sampled_from("abcd"), _VALUES, max_size=4)


@pytest.mark.req("QUEUE-13", "GAP-9")
@given(base=_MAPS, over=_MAPS)
def test_what_the_job_sets_is_what_comes_out(base: dict[str, Any], over: dict[str, Any]) -> None:
    merged = merge(base, over)
    assert set(merged) == set(base) | set(over)
    for key, value in over.items():
        if not isinstance(value, dict) or not isinstance(base.get(key), dict):
            assert merged[key] == value
    for key in set(base) - set(over):
        assert merged[key] == base[key]


@given(base=_MAPS, over=_MAPS)
def test_merging_twice_is_merging_once_and_changes_no_argument(
    base: dict[str, Any], over: dict[str, Any]
) -> None:
    before = repr((base, over))
    once = merge(base, over)
    assert merge(once, over) == once
    assert merge(base, {}) == base
    assert repr((base, over)) == before


@given(config=_MAPS, value=st.integers() | st.booleans() | st.text(max_size=5))
def test_a_config_without_placeholders_is_left_as_it_is(config: dict[str, Any], value: Any) -> None:
    assert fill(config, {"v": {"schema": {}}}, {"v": value}) == config


@pytest.mark.req("QUEUE-15")
@given(value=st.integers() | st.booleans() | st.none() | st.lists(st.integers()) | st.text())
def test_a_placeholder_alone_keeps_the_values_type(value: Any) -> None:
    filled = fill({"a": ["{{ v }}", "{{other}}"]}, {"v": {"schema": {}}}, {"v": value})
    assert filled == {"a": [value, "{{other}}"]}


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    variables = {"a": {"schema": {}}, "b": {"schema": {}}}
    assert fill("{{a}} {{b}}", variables, {"a": "{{b}}", "b": "x"}) == "{{b}} x"


def test_keys_are_filled_too() -> None:
    variables = {"gpu": {"schema": {"default": "nvidia.com/gpu"}}}
    assert fill({"limits": {"{{gpu}}": 1}}, variables, {}) == {"limits": {"nvidia.com/gpu": 1}}


def test_a_schema_is_never_fetched_from_elsewhere() -> None:
    variables = read_variables('{"v": {"schema": {"$ref": "http://127.0.0.1:9/schema.json"}}}')
    with pytest.raises(ConfigError, match="cannot be used"):
        fill("{{v}}", variables, {"v": 1})


def test_a_schema_that_refers_to_itself_for_ever_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        fill("{{v}}", {"v": {"schema": {"$ref": "#"}}}, {"v": 1})


def _config(resource: str, args: Any, **variables: Any) -> ResourceConfigRow:
    return ResourceConfigRow(
        id="c", entity="e", resource=resource, config={"resource_args": {resource: args}}, variables=variables
    )


@pytest.mark.req("QUEUE-7")
def test_the_queue_says_which_resource_a_job_runs_on() -> None:
    merged = merge_spec(_config("kubernetes", {"kind": "Job"}), {"resource": "sagemaker", "project": "p"}, {})
    assert merged == {
        "resource": "kubernetes",
        "resource_args": {"kubernetes": {"kind": "Job"}},
        "project": "p",
    }


def test_both_words_for_vertex_mean_one_resource() -> None:
    spec = {"resource_args": {"vertex": {"spec": {"a": 1}}}}
    merged = merge_spec(_config("gcp-vertex", {"spec": {"b": 2}}), spec, {})
    assert merged["resource_args"] == {"gcp-vertex": {"spec": {"a": 1, "b": 2}}}


def test_values_may_stand_in_the_spec_and_given_ones_win() -> None:
    config = _config("kubernetes", {"a": "{{x}}-{{y}}"}, x={"schema": {}}, y={"schema": {}})
    merged = merge_spec(config, {"template_variables": {"x": 1, "y": 2}}, {"y": 3})
    assert merged == {"resource": "kubernetes", "resource_args": {"kubernetes": {"a": "1-3"}}}


def test_a_queue_without_configuration_takes_specs_as_they_are() -> None:
    assert merge_spec(None, {"resource": "kubernetes"}, {}) == {"resource": "kubernetes"}
    with pytest.raises(ConfigError, match="no configuration"):
        merge_spec(None, {}, {"x": 1})


@pytest.mark.parametrize("args", [[1], "x", 3])
def test_resource_args_that_are_no_map_are_refused(args: Any) -> None:
    with pytest.raises(ConfigError, match="resource_args: must be a map"):
        merge_spec(_config("kubernetes", {}), {"resource_args": args}, {})


@pytest.mark.req("QUEUE-16")
@given(text=st.text(max_size=60))
def test_any_text_is_a_configuration_or_one_clear_error(text: str) -> None:
    try:
        read = read_config(text, "kubernetes")
    except ConfigError:
        return
    assert set(read["resource_args"]) == {"kubernetes"}
