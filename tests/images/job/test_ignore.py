"""The patterns of .dockerignore mean what they mean to Docker."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker.utils.build import PatternMatcher
from hypothesis import assume, example, given
from hypothesis import strategies as st

from launch_agent.errors import ImageError
from launch_agent.images.job.ignore import Ignore
from launch_agent.images.job.tree import Tree

# Docker's own documentation, moby's tests, and the differences to .gitignore.
CASES = [
    ("*.py", "a.py", True), ("*.py", "d/a.py", False), ("**/*.py", "d/a.py", True),
    ("**/*.py", "a.py", True), ("d", "d/a.py", True), ("d/", "d/a.py", True),
    ("/d", "d/a.py", True), ("d/*", "d/a.py", True), ("d/*", "d/e/a.py", True),
    ("*/a", "d/a", True), ("*/a", "d/e/a", False), ("*/*/a", "d/e/a", True),
    ("a?", "ab", True), ("a?", "a", False), ("a?", "a/b", False), ("[ab]x", "ax", True),
    ("[^ab]x", "ax", False), ("[^ab]x", "cx", True), ("[a-c]x", "bx", True),
    ("\\*x", "*x", True), ("\\*x", "ax", False), ("**", "d/e/f", True),
    ("d/**", "d/e/f", True), ("d/**", "d", False), ("**/d", "a/b/d", True),
    ("**/d/e", "a/d/e", True), ("a/**/z", "a/z", True), ("a/**/z", "a/b/c/z", True),
    ("**foo", "barfoo", True), ("*\n!a.py", "a.py", False), ("*\n!a.py", "b.py", True),
    ("d\n!d/keep", "d/keep", False), ("d\n!d/keep", "d/other", True), ("!a\n*", "a", True),
    ("# a", "a", False), (" a ", "a", True), ("a#b", "a#b", True), ("./a", "a", True),
    ("a/../b", "b", True), ("a.b", "aXb", False), ("a+(b)", "a+(b)", True),
    ("\ufeffa", "a", True), ("A", "a", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "is_left_out"), CASES)
def test_dockers_rules(text: str, path: str, is_left_out: bool) -> None:
    assert Ignore(text, file="x").leaves_out(path) is is_left_out


@pytest.mark.parametrize("text", ["!", "[", "a[", "[a", "[]a]", "a\\", "[z-a]", "[-a]", "[a-]"])
def test_what_is_no_pattern_is_named_with_its_line(text: str) -> None:
    with pytest.raises(ImageError, match=r"\.dockerignore:2"):
        Ignore(f"ok\n{text}\n", file=".dockerignore")


NAME = st.sampled_from(["a", "b", "ab", "c.py", "x"])
PATH = st.lists(NAME, min_size=1, max_size=4).map("/".join)
PART = st.sampled_from(["a", "b", "*", "a*", "*b", "?", "*.py", "**", "[ab]", "x"])
PATTERN = st.tuples(st.sampled_from(["", "", "!"]), st.lists(PART, min_size=1, max_size=4).map("/".join)).map(
    "".join
)


@given(st.lists(PATTERN, max_size=5), PATH)
def test_the_same_as_dockers_own_matcher(patterns: list[str], path: str) -> None:
    """Docker's SDK for Python has another implementation of the same rules. Older than the engine's: where
    `!` and `**` meet it forgets what a folder above has matched, so these are left to the cases above."""
    assume(not (any("!" in each for each in patterns) and any("**" in each for each in patterns)))
    ours = Ignore("\n".join(patterns), file="x").leaves_out(path)
    matcher = PatternMatcher(patterns)
    parts = path.split("/")
    # Who walks through the folders does not look into one that is left out.
    above = ["/".join(parts[:size]) for size in range(1, len(parts))] if "!" not in "".join(patterns) else []
    assert ours is any(matcher.matches(each) for each in [*above, path])


@given(st.lists(st.text(max_size=8), max_size=5), st.text(min_size=1, max_size=8))
@example(["a"], "/")
@example(["a"], "//b")
def test_any_text_is_read_or_refused_in_words(lines: list[str], path: str) -> None:
    try:
        Ignore("\n".join(lines), file="x").leaves_out(path)
    except ImageError:
        return


def test_a_folder_that_is_left_out_is_looked_into_where_something_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    for name in ("d/a", "d/e/keep", "b"):
        (tmp_path / name).touch()
    tree = Tree(root=tmp_path, ignores=[Ignore("d\n!d/e/keep", file="x")])
    assert [entry.path for entry in tree.entries()] == ["b", "d/e/keep"]
