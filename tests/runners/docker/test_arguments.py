from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import SubmitRejected
from launch_agent.runners.docker.arguments import OPTIONS, Arguments, parse
from launch_agent.runners.env import IDENTITY_KEYS, pairs
from launch_agent.spec.docker_keys import canonical
from launch_agent.spec.identity import MANAGED_BY
from launch_agent.spec.policy.docker import HARMLESS

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def refusal(resource_args: Mapping[str, Any]) -> str:
    """What a refusal says; empty where the args are taken. Any other error is the test's."""
    try:
        parse(resource_args)
    except SubmitRejected as error:
        return error.message
    return ""


@given(st.dictionaries(st.sampled_from(sorted(OPTIONS)) | st.text(max_size=10), anything, max_size=4))
def test_whatever_comes_is_taken_or_refused_with_a_sentence(resource_args: Mapping[str, Any]) -> None:
    said = refusal(resource_args)
    assert not said or said.startswith("resource_args.local-container.")


@given(st.sampled_from(sorted(OPTIONS)), anything)
def test_a_wrong_value_is_named_with_the_form_expected(option: str, value: Any) -> None:
    if said := refusal({option: value}):
        assert f"local-container.{option}" in said
        assert OPTIONS[option].form in said or option in ("label", "pull")


@pytest.mark.parametrize("spelling", ["shm-size", "shm_size", "--shm-size", "SHM_SIZE"])
def test_a_key_is_spelt_as_at_the_command_line_or_with_underscores(spelling: str) -> None:
    assert parse({spelling: "1g"}).host == {"ShmSize": 1024**3}


@given(st.integers(1, 2**40), st.sampled_from(["", "k", "m", "g", "kb", "MB", "GiB", "Ki"]))
def test_sizes_are_powers_of_1024(number: int, unit: str) -> None:
    factor = 1024 ** " kmg".index((unit or " ")[0].lower())
    assert parse({"memory": f"{number}{unit}"}).host["Memory"] == pytest.approx(number * factor)


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), st.text().filter(lambda t: "\0" not in t)
    )
)
def test_variables_are_the_same_as_a_list_and_as_a_mapping(env: dict[str, str]) -> None:
    assert parse({"env": [f"{key}={value}" for key, value in env.items()]}).env == env
    assert parse({"env": env}).env == env == pairs(env)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("memory", "lots"), ("memory", True), ("memory", -1), ("memory", []), ("cpus", 0), ("cpus", "nan"),
        ("cpus", float("inf")), ("pids-limit", "many"), ("gpus", 0), ("gpus", True), ("gpus", {"cuont": 1}),
        ("gpus", {"count": 1, "device": "0"}), ("volume", "/only-one"), ("volume", "./here:/there"),
        ("volume", "~/x:/y"), ("volume", "/a:b"), ("mount", "type=bind,source=/a"),
        ("mount", "typ=bind,target=/a"), ("mount", "type=odd,target=/a"), ("device", "null"),
        ("device", "/a:/b:rwx"), ("tmpfs", "run"), ("add-host", "name"), ("publish", "a:b"),
        ("ulimit", "nofile"), ("ulimit", "nofile=a:b"), ("read-only", "maybe"), ("privileged", 2),
        ("env", ["ALONE"]), ("env", {"A B": "1"}), ("env", {"A": None}), ("env", {"A": ["x"]}),
        ("entrypoint", {"a": 1}), ("user", True), ("network", ""), ("network", ["a", "b"]),
        ("pull", "sometimes"), ("hostname", "a\0b"),
    ],
)  # fmt: skip
def test_refuses(option: str, value: Any) -> None:
    with pytest.raises(SubmitRejected, match=f"local-container.{option}"):
        parse({option: value})


def test_a_variables_value_is_not_shown() -> None:
    with pytest.raises(SubmitRejected) as caught:
        parse({"env": {"TOKEN": ["hush"]}})
    assert "hush" not in str(caught.value)


def test_an_unknown_key_has_a_neighbour() -> None:
    with pytest.raises(SubmitRejected) as caught:
        parse({"memroy": "1g"})
    assert "'memory'" in caught.value.hint


@pytest.mark.parametrize("option", ["restart", "i", "detach", "env-file", "log-driver"])
def test_what_makes_no_sense_here_is_refused_with_the_reason(option: str) -> None:
    with pytest.raises(SubmitRejected, match="cannot be set: "):
        parse({option: "x"})


def test_the_same_option_twice_is_refused() -> None:
    with pytest.raises(SubmitRejected, match="given as 'm' too"):
        parse({"m": "1g", "memory": "2g"})


@pytest.mark.parametrize("label", [MANAGED_BY, "launch-agent/item-id"])
def test_the_agents_own_labels_are_its_own(label: str) -> None:
    with pytest.raises(SubmitRejected, match="own labels"):
        parse({"label": {label: "x"}})


def test_builder_settings_nulls_and_rm_ask_for_nothing() -> None:
    assert parse({"builder": {"accelerator": 1}, "rm": True, "memory": None}) == Arguments()


def test_every_option_has_its_long_name() -> None:
    assert all(canonical(option) == option for option in OPTIONS)


def test_identity_is_five_variables() -> None:
    assert len(IDENTITY_KEYS) == 5


def test_what_the_policy_lets_pass_is_known_here() -> None:
    assert all(parse({option: None}) == Arguments() for option in HARMLESS)
    assert HARMLESS.keys() - OPTIONS.keys() <= {"rm"}
