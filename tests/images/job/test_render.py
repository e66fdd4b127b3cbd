"""Whatever a job says, its Dockerfile holds our instructions and no others."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from launch_agent.errors import ImageError, LaunchError
from launch_agent.images.job.dependencies import Dependencies, Method, find
from launch_agent.images.job.render import Recipe, dockerfile, words
from tests.images.job.dockerfile_parser import parse

EVIL = st.sampled_from(
    ["\nRUN x", "\\\nRUN x", "`\nRUN", "# escape=`", '"]\nRUN ["x', "<<EOF", "$(x)", "${PATH}", "\r\nRUN x",
     "\u2028RUN x", "\x0bRUN x", "\x85RUN", "'", '"', "\\", "]", "--mount=type=bind", "\\u000aRUN", "{{ 1 }}"]
)  # fmt: skip
TEXT = st.text(max_size=12) | EVIL | st.tuples(EVIL, st.text(max_size=5), EVIL).map("".join)
PIECES = st.tuples(TEXT, TEXT).map("".join)
NAMES = (
    "requirements.txt",
    "pyproject.toml",
    "uv.lock",
    "poetry.lock",
    "environment.yml",
    "requirements.frozen.txt",
)


@given(
    command=st.lists(PIECES, max_size=4),
    base=st.just("") | st.just("registry.example:5000/a/b:1") | PIECES,
    python=st.sampled_from(["3.11", "3.12"]) | PIECES,
    has_mounts=st.booleans(),
    user=st.integers(),
    method=st.sampled_from(list(Method)),
    copied=st.lists(PIECES | st.just("a/b.txt"), max_size=3),
    file=PIECES | st.just("requirements.txt"),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_no_value_can_add_an_instruction(
    command: list[str],
    base: str,
    python: str,
    has_mounts: bool,
    user: int,
    method: Method,
    copied: list[str],
    file: str,
    flags: tuple[bool, bool],
) -> None:
    needs = Dependencies(
        method=method, why="", file=file, copied=copied, needs_code=flags[0], is_lenient=flags[1], whole=file
    )
    recipe = Recipe(
        python=python, dependencies=needs, entry_point=command, base=base, user=user, has_mounts=has_mounts
    )
    try:
        found = parse(dockerfile(recipe))
    except LaunchError:
        return
    plain = Dependencies(
        method=method,
        why="",
        file="f" if file else "",
        copied=["f"] * len(copied),
        needs_code=flags[0],
        is_lenient=flags[1],
        whole="." if file == "." else "f" if file else "",
    )
    harmless = Recipe(
        python="3.11",
        dependencies=plain,
        entry_point=["x"] * len(command),
        base="b" if base else "",
        user=1,
        has_mounts=has_mounts,
    )
    assert [each.keyword for each in found] == [each.keyword for each in parse(dockerfile(harmless))]
    if command:
        assert found[-1].keyword == "ENTRYPOINT"
        assert found[-1].words() == command


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        PIECES
        | st.lists(PIECES | st.sampled_from(["-r ", "-c ", "-e ", "a==1", "./x", "\n"]), max_size=8).map(
            "".join
        ),
    ),
    PIECES,
)
def test_no_file_of_a_job_can_add_an_instruction(files: dict[str, str], frozen: str) -> None:
    try:
        needs = find(files.get, frozen=frozen.encode("utf-8", "replace"))
        found = parse(dockerfile(Recipe(python="3.11", dependencies=needs, entry_point=["x"])))
    except LaunchError:
        return
    known = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT"}
    assert {each.keyword for each in found} <= known
    assert all(
        each.rest.startswith(("[", ".", "--from=packages ", "--chown="))
        for each in found
        if each.keyword == "COPY"
    )


@given(st.lists(st.text(), max_size=5))
def test_a_command_reads_back_as_it_was(command: list[str]) -> None:
    import json

    assume(not any("\0" in word for word in command))
    said = words(command)
    assert json.loads(said) == command
    assert said.isascii()
    assert said.isprintable()
    assert "$" not in said


def test_what_no_command_can_have_is_refused() -> None:
    with pytest.raises(ImageError):
        words(["a\0b"])
