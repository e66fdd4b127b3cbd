"""Plain scalars as Go reads them; tests/chart/test_lint_agrees.py compares with Helm itself."""

from __future__ import annotations

from typing import Any

import pytest

from launch_agent.config.document import read
from launch_agent.config.goyaml import resolve
from launch_agent.config.judge import judge
from launch_agent.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("nULL", "nULL"),
        ("y", True), ("No", False), ("on", True), ("true", True), ("tRue", "tRue"),
        ("0", 0), ("-7", -7), ("+7", 7), ("1_000", 1000), ("017", 15), ("0o17", 15), ("0b11", 3),
        ("-0x1F", -31), ("0x", "0x"),
        ("08", 8.0), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-1.5E-2", -0.015), ("1e999", "1e999"),
        ("18446744073709551615", 18446744073709551615), ("18446744073709551616", 18446744073709551616.0),
        ("-9223372036854775809", -9223372036854775809.0), ("0123456789" * 4, float("0123456789" * 4)),
        ("1:30", "1:30"), ("2026-01-02", "2026-01-02"), ("1.2.3", "1.2.3"), ("-", "-"), (".", "."),
        ("._5", "._5"), ("gpu", "gpu"), ("1Gi", "1Gi"),
    ],
)  # fmt: skip
def test_values(text: str, value: Any) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_quotes_and_tags_go_before_it() -> None:
    text = b"a: 'y'\nb: !!str 1e3\nc: |-\n  08\nd: 08\ne: !!int '7'\n"
    value = read(text, file="f", for_helm=True).value
    assert value == {"a": "y", "b": "1e3", "c": "08", "d": 8.0, "e": 7}


def test_what_is_no_number_of_json() -> None:
    with pytest.raises(ConfigError, match="not a finite number"):
        read(b"a: .inf", file="f", for_helm=True)


def test_a_key_of_all_digits_is_to_be_quoted() -> None:
    text = f"agent:\n  apiKey: {'0123456789' * 4}\nlaunchConfig: {{queues: [gpu]}}\n"
    (finding,) = judge(text.encode(), file="values.yaml")
    assert (finding.code, finding.hint, finding.line) == ("wrong-type", "put it in quotes", 2)
    quoted = text.replace("apiKey: ", "apiKey: '").replace("\nlaunch", "'\nlaunch")
    assert [each.code for each in judge(quoted.encode(), file="values.yaml")] == ["plain-secret"]


def test_a_launch_config_is_read_as_the_agent_reads_it() -> None:
    """In a text the agent's rules count, in a mapping those of Helm, which hands on what it has read."""
    assert judge(b"launchConfig: |\n  queues: [y]\nagent: {apiKeySecret: {name: a}}\n", file="f") == []
    (finding,) = judge(b"launchConfig:\n  queues: [y]\nagent: {apiKeySecret: {name: a}}\n", file="f")
    assert finding.key == "launchConfig.queues[0]"
