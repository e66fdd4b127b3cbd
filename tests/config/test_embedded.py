"""A text within a file: its places are those of the file, however the text is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.config import document, embedded
from launch_agent.errors import ConfigError


def within(text: str) -> tuple[document.Document, embedded.Embedded]:
    outer = document.read(text.encode(), file="values.yaml")
    return outer, embedded.read(outer, ("config",), outer.value["config"])


BLOCKS = [
    "other: 1\nconfig: |\n  queues:\n    - gpu\n  max_jobs: 0\n",
    "config: |-\n      queues: [gpu]\n\n      max_jobs: 0\n",
    "config: |2\n  queues: [gpu]\n  max_jobs: 0\n",
    "config: |+ # a comment\n\n\n  # about it\n  queues: [gpu]\n  max_jobs: 0\n\n",
    "config: &anchor |\n  queues: [gpu]\n  max_jobs: 0\nother: *anchor\n",
    "config: &anchor\n  |\n  queues: [gpu]\n  max_jobs: 0\n",
    "config: !!str |\n  queues: [gpu]\n  max_jobs: 0\n",
    "config: |\r\n  queues: [gpu]\r\n  max_jobs: 0\r\n",
    "text: |\n  config: |\n\nconfig: |\n  --- # one document\n  queues: [gpu]\n  max_jobs: 0\n",
    "base: &base\n  a: |\n    b\nconfig: |\n  # ä\n  {queues: [gpu],\n   max_jobs: 0}\n",
]


@pytest.mark.req("CHART-13")
@pytest.mark.parametrize("text", BLOCKS)
def test_places_in_a_block(text: str) -> None:
    _, inner = within(text)
    line, column = inner.place(("max_jobs",))
    assert text.splitlines()[line - 1][column - 1 :].startswith("0")
    line, column = inner.place(("max_jobs",), at_key=True)
    assert text.splitlines()[line - 1][column - 1 :].startswith("max_jobs: 0")


@pytest.mark.parametrize(
    "text",
    [
        'a: 1\nconfig: "max_jobs: 0\\nqueues: [gpu]"\n',
        "a: 1\nconfig: 'max_jobs: 0'\n",
        "a: 1\nconfig: >\n  {queues: [gpu],\n  max_jobs: 0}\n",
    ],
)
def test_what_is_no_block_stands_where_it_begins(text: str) -> None:
    outer, inner = within(text)
    assert inner.value["max_jobs"] == 0
    assert inner.place(("max_jobs",)) == outer.place(("config",))
    assert inner.place(()) == (2, 9)


@pytest.mark.req("CFG-23")
def test_tabs_are_named_with_the_lines_of_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        within("a: 1\nconfig: |\n  queues:\n  \t- gpu\n  max_jobs: 1\n  \tx: 1\n")
    assert (caught.value.line, caught.value.path) == (4, "config")
    assert "line 4 is indented with a tab (so are lines 6)" in caught.value.message


def test_a_key_that_stands_twice_is_named_with_both_lines_of_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        within("# 1\n# 2\nconfig: |\n  a: 1\n  b: 2\n  a: 3\n")
    assert (caught.value.line, caught.value.column, caught.value.path) == (6, 3, "config")
    assert "the first is on line 4" in caught.value.message


def test_what_is_wrong_in_a_quoted_text_has_the_line_of_the_text() -> None:
    with pytest.raises(ConfigError) as caught:
        within('a: 1\nconfig: "a: 1\\nb: [\\n"\n')
    assert (caught.value.line, caught.value.column) == (2, 9)
    assert caught.value.message.startswith("in the text's line 3: this is not YAML")


def test_an_empty_text() -> None:
    with pytest.raises(ConfigError) as caught:
        within("config: |\n  # nothing\n")
    assert (caught.value.message, caught.value.line) == ("the text is empty", 1)


@given(
    st.dictionaries(st.text(alphabet="abcdef", min_size=1), st.integers(), min_size=1),
    st.integers(1, 9),
    st.integers(0, 4),
)
def test_any_block_has_its_places(value: dict[str, int], indent: int, blank: int) -> None:
    rows = [f"{json.dumps(key)}: {item}" for key, item in value.items()]
    text = "config: |\n" + "\n" * blank + "".join(f"{' ' * indent}{row}\n" for row in rows)
    _, inner = within(text)
    assert inner.value == value
    for number, key in enumerate(value):
        place = inner.place((key,), at_key=True)
        assert place == (2 + blank + number, indent + 1)
