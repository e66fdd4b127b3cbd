"""YAML with places: what is read, where it stands, and that nothing hostile gets through."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.config.document import LARGEST, read
from launch_agent.config.judge import judge
from launch_agent.errors import ConfigError

scalars = (
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=25,
)
# Texts out of the characters that YAML gives a meaning to: many of them are nearly YAML.
yamlish = st.text(alphabet="ab01 -:,[]{}&*!|>?'\"#%@`\n\t<=~.", max_size=200)


def parse(text: str) -> object:
    return read(text.encode(), file="f.yaml").value


@given(values)
def test_what_pyyaml_writes_is_read_as_it_was(value: object) -> None:
    assert parse(yaml.safe_dump(value)) == value


@given(
    st.dictionaries(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"])), st.integers())
)
def test_json_is_yaml(value: dict[str, int]) -> None:
    assert parse(json.dumps(value, indent="\t")) == value


@given(st.binary(max_size=300) | yamlish.map(str.encode) | st.text(max_size=200).map(str.encode))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    for finding in judge(data, file="f.yaml"):
        assert finding.message
        assert finding.line <= data.count(b"\n") + data.count(b"\r") + 2


@given(values)
def test_no_value_crashes_the_checks(value: object) -> None:
    judge(yaml.safe_dump(value, allow_unicode=True).encode(), file="f.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: yes", {"a": True}),
        ("a: 'yes'", {"a": "yes"}),
        ("a: ! 5", {"a": "5"}),
        ("a: !!str 5", {"a": "5"}),
        ("a: !!int '5'", {"a": 5}),
        ("a: 2024-01-01", {"a": "2024-01-01"}),
        ("a: 0x10", {"a": 16}),
        ("a: 1e3", {"a": "1e3"}),
        ("a: 1.5e+3", {"a": 1500.0}),
        ("a:", {"a": None}),
        ("a: ~", {"a": None}),
        ("a: =", {"a": "="}),
        ("'<<': 1", {"<<": 1}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("base: &x {p: 1, q: 2}\nsub: {<<: *x, q: 3}", {"base": {"p": 1, "q": 2}, "sub": {"q": 3, "p": 1}}),
        (
            "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}",
            {"a": {"x": 1}, "b": {"x": 2, "y": 2}, "c": {"x": 1, "y": 2}},
        ),
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse(text) == value


def test_places() -> None:
    text = "a:\n  - b: 1\n    c: two\nd: {e: 3}\n"
    document = read(text.encode(), file="f.yaml")
    assert document.place(("a", 0, "c")) == (3, 8)
    assert document.place(("a", 0, "c"), at_key=True) == (3, 5)
    assert document.place(("d", "e")) == (4, 8)
    assert document.place(("a", 0, "not there")) == (2, 5)
    assert document.place(("d", "not there"), at_key=True) == (4, 1)
    assert document.place(()) == (1, 1)


def test_places_within_aliases_are_those_of_the_anchor() -> None:
    document = read(b"a: &x {k: 1}\nb: *x\nc: {<<: *x}\n", file="f.yaml")
    assert document.place(("b", "k")) == (1, 11)
    assert document.place(("c", "k")) == (1, 11)


@pytest.mark.parametrize(
    ("data", "line", "column", "message"),
    [
        (b"a: 1\nb: 2\na: 3", 3, 1, "the key 'a' stands here for the second time; the first is on line 1"),
        (b"{<<: 1}", 1, 7, "'<<' takes a mapping or a list of mappings"),
        (b"{<<: [1]}", 1, 9, "'<<' takes a mapping or a list of mappings"),
        (b"a: !!int x", 1, 4, "'x' cannot be read as int"),
        (b"a: !!float ''", 1, 4, "'' cannot be read as float"),
        (b"a: !!bool x", 1, 4, "'x' cannot be read as bool"),
        (b"a: " + b"9" * 5000, 1, 4, "cannot be read as int"),
        (b"a: .nan", 1, 4, "'.nan' is not a finite number"),
        (b"a: !!binary aGk=", 1, 4, "the tag !!binary is not supported"),
        (b"a: !!set {x}", 1, 4, "the tag !!set is not supported"),
        (b"? [a]\n: 1", 1, 3, "a key must be a text, not a list or mapping"),
        (b"true: 1", 1, 1, "a key must be a text, not True"),
        (b"a: 1\n---\nb: 1", 2, 1, "the file holds more than one YAML document"),
        (b"- " * 100, 1, 129, "values are nested more than 64 deep"),
        (b"[" * 5000, 1, 1001, "exceeded maximum nesting depth"),
        (b"- " * 500_000, 1, 129, "values are nested more than 64 deep"),
        (b"a: [1\nb: 2", 2, 2, "this is not YAML"),
        ("a: ä\nb: ö\x00".encode(), 2, 1, "a character that YAML does not allow"),
        (b"x" * (LARGEST + 1), 0, 0, "larger than 1024 KiB"),
    ],
)
def test_what_is_not_taken(data: bytes, line: int, column: int, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(data, file="f.yaml")
    error = raised.value
    assert message in error.message
    assert (error.file, error.line, error.column) == ("f.yaml", line, column)


def test_deep_aliases_are_as_deep_as_what_they_stand_for() -> None:
    rows = ["a0: &a0 [1]", *(f"a{n + 1}: &a{n + 1} [*a{n}]" for n in range(80))]
    with pytest.raises(ConfigError, match="nested more than 64 deep"):
        read("\n".join(rows).encode(), file="f.yaml")


@pytest.mark.req("CFG-23", "CON-31")
def test_all_lines_with_tabs_are_named_up_to_a_point() -> None:
    rows = "".join(f"k{n}:\n\tx: 1\n" for n in range(20))
    with pytest.raises(ConfigError) as raised:
        read(rows.encode(), file="f.yaml")
    assert "(so are lines 4, 6, 8, 10, 12, 14, 16, 18 …)" in raised.value.message


def test_tabs_that_yaml_allows_are_allowed() -> None:
    assert parse("a:\t1\nb: {\n\tc: 2\n}\n") == {"a": 1, "b": {"c": 2}}
