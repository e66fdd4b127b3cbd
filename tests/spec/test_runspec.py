"""Run specs as clients write them, and the contradictions that end in one clear error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import LaunchError
from launch_agent.spec.model import Lease, RunSpec
from launch_agent.spec.runspec import parse

KEY = "0123456789abcdef0123456789abcdef01234567"
LEAST: Mapping[str, Any] = {
    "entity": "e",
    "project": "p",
    "resource": "local-container",
    "docker": {"docker_image": "repo/img:tag"},
}


def read(**changes: Any) -> RunSpec:
    return parse(Lease(item_id="i", queue="q", entity="e", spec={**LEAST, **changes}))


@pytest.mark.req("JOB-5")
def test_an_image_run_as_the_official_client_writes_it() -> None:
    spec = read(
        git={},
        overrides={
            "run_config": {"lr": 0.1},
            "args": ["--x", "1"],
            "entry_point": ["python", "t.py"],
            "files": {"a.json": {"b": 1}},
            "artifacts": {"slot": "e/p/a:v0"},
            "dockerfile": "Dockerfile.gpu",
            "working_dir": "sub",
        },
        resource_args={"local-container": {"gpus": "all"}, "kubernetes": {"spec": {}}},
        name="run name",
        run_id="abcd1234",
        author="alice",
        sweep_id="s1",
        _resume_count=2,
        _wandb_api_key=KEY,
    )
    assert (spec.entity, spec.project, spec.resource, spec.image, spec.job, spec.scheduler) == (
        "e",
        "p",
        "local-container",
        "repo/img:tag",
        "",
        False,
    )
    assert spec.resource_args == {"gpus": "all"}
    assert spec.overrides.run_config == {"lr": 0.1}
    assert spec.overrides.args == ("--x", "1")
    assert spec.overrides.entry_point == ("python", "t.py")
    assert spec.overrides.files == {"a.json": {"b": 1}}
    assert spec.overrides.artifacts == {"slot": "e/p/a:v0"}
    assert (spec.overrides.dockerfile, spec.overrides.working_dir) == ("Dockerfile.gpu", "sub")
    assert (spec.name, spec.run_id, spec.author, spec.sweep_id) == ("run name", "abcd1234", "alice", "s1")
    assert spec.resume_count == 2
    assert spec.api_key.reveal() == KEY


def test_a_job_run_as_the_official_client_writes_it() -> None:
    spec = read(job="e/p/job-train:v3", docker={}, git={}, overrides={}, resource_args={"kubernetes": {}})
    assert (spec.image, spec.job) == ("", "e/p/job-train:v3")


@pytest.mark.parametrize("nothing", [None, {}, [], ""])
def test_nothing_may_be_written_in_any_way(nothing: Any) -> None:
    keys = (
        "git",
        "overrides",
        "resource_args",
        "name",
        "run_id",
        "author",
        "sweep_id",
        "_wandb_api_key",
        "job",
    )
    assert read(**dict.fromkeys(keys, nothing)) == read()
    inner = ("args", "run_config", "artifacts", "files", "entry_point", "dockerfile", "working_dir")
    assert read(overrides=dict.fromkeys(inner, nothing)) == read()
    assert read(resource_args={"local-container": nothing}) == read()


def test_the_image_may_stand_in_either_place() -> None:
    assert read(docker=None, image_uri="x/y").image == "x/y"
    assert read(docker={"docker_image": None, "user_id": 1000}, image_uri="x/y").image == "x/y"


@pytest.mark.parametrize("named", ["vertex", "gcp-vertex"])
@pytest.mark.parametrize("given_as", ["vertex", "gcp-vertex"])
def test_vertex_has_two_names(named: str, given_as: str) -> None:
    spec = read(resource=named, resource_args={given_as: {"spec": {"a": 1}}})
    assert (spec.resource, spec.resource_args) == ("vertex", {"spec": {"a": 1}})


def test_a_lone_resource_is_the_one_that_is_meant() -> None:
    assert read(resource=None, resource_args={"kubernetes": {}}).resource == "kubernetes"


def test_what_is_for_the_builder_does_not_reach_the_runner() -> None:
    given_args = {"builder": {"base_image": "python:3.12"}, "cpus": 1}
    spec = read(resource_args={"local-container": given_args})
    assert spec.resource_args == {"cpus": 1}
    assert spec.builder == {"base_image": "python:3.12"}
    assert "builder" in given_args, "the lease is not changed"


def test_a_command_line_may_be_one_text() -> None:
    spec = read(overrides={"args": "--name 'two words' -v", "entry_point": "python -u train.py"})
    assert spec.overrides.args == ("--name", "two words", "-v")
    assert spec.overrides.entry_point == ("python", "-u", "train.py")
    assert read(overrides={"args": ["--lr", 0.1, 3]}).overrides.args == ("--lr", "0.1", "3")


def test_a_scheduler_of_a_sweep_is_known_by_its_uri() -> None:
    scheduler = {"docker": {}, "uri": "placeholder-uri-scheduler", "resource": "local-process"}
    command = ["wandb", "scheduler", "WANDB_SWEEP_ID"]
    spec = read(**scheduler, overrides={"entry_point": command})
    assert spec.scheduler
    assert spec.overrides.entry_point == tuple(command)
    steered = read(
        **scheduler, resource_args={"local-process": {"env": {"PATH": "/tmp"}, "builder": {"a": 1}}}
    )
    assert (steered.resource_args, steered.builder) == ({}, {})
    packed = read(docker={}, uri="placeholder-uri-scheduler", job="e/p/scheduler:v0")
    assert (packed.scheduler, packed.job) == (False, "e/p/scheduler:v0")


def test_a_process_may_be_an_entry_point_alone() -> None:
    spec = read(docker={}, resource="local-process", overrides={"entry_point": ["true"]})
    assert (spec.image, spec.job, spec.scheduler) == ("", "", False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"docker": {}}, "names nothing to run"),
        ({"docker": {}, "resource": "local-process"}, "names nothing to run"),
        ({"docker": {}, "overrides": {"entry_point": ["true"]}}, "names nothing to run"),
        ({"docker": {}, "uri": "https://github.com/a/b"}, "names nothing to run"),
        ({"job": "e/p/j:v0"}, "both the image 'repo/img:tag' and the job 'e/p/j:v0'"),
        ({"resource": "local-process"}, "runs no containers"),
        ({"entity": ""}, "has no entity"),
        ({"entity": None}, "has no entity"),
        ({"project": None}, "has no project"),
        ({"resource": None}, "does not say on which resource"),
        ({"resource": "", "resource_args": {"a": {}, "b": {}}}, "does not say on which resource"),
        ({"run_id": "a/b"}, "run_id 'a/b'"),
        ({"run_id": "x" * 129}, "run_id"),
        ({"name": "two\nlines"}, "name holds a control character"),
        ({"author": "nul\0"}, "author holds a control character"),
        ({"name": True}, "name is not a text but bool"),
        ({"name": ["a"]}, "name is not a text but list"),
        ({"docker": "repo/img"}, "docker is not a mapping but str"),
        ({"overrides": ["--x"]}, "overrides is not a mapping but list"),
        ({"overrides": {"args": {"a": 1}}}, "overrides.args is not a list of texts but dict"),
        ({"overrides": {"args": [{"a": 1}]}}, "overrides.args is not a list of texts but dict"),
        ({"overrides": {"args": "'open"}}, "overrides.args cannot be split"),
        ({"overrides": {"run_config": [1]}}, "overrides.run_config is not a mapping"),
        ({"resource_args": {"local-container": ["x"]}}, "resource_args.local-container is not a mapping"),
        ({"resource_args": {"local-container": {"builder": "x"}}}, "builder is not a mapping"),
        ({"_resume_count": -1}, "_resume_count"),
        ({"docker": {"docker_image": "x", "user_id": "root"}}, "docker.user_id"),
        ({"docker": {"docker_image": "x", "user_id": -1}}, "docker.user_id"),
        ({"docker": {"docker_image": "x", "user_id": 2**31}}, "docker.user_id"),
        ({"_resume_count": "many"}, "_resume_count"),
    ],
)
def test_a_contradiction_is_one_error_with_a_cure(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(LaunchError) as raised:
        read(**changes)
    assert words in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(
    "wrong", [{}, {"docker": {}}, {"job": "e/p/j:v0"}, {"run_id": "a/b"}, {"overrides": [1]}]
)
def test_the_submitters_key_is_never_shown(wrong: dict[str, Any]) -> None:
    lease = Lease(item_id="i", queue="q", entity="e", spec={**LEAST, "_wandb_api_key": KEY, **wrong})
    assert KEY not in repr(lease)
    try:
        shown = repr(parse(lease))
    except LaunchError as error:
        shown = f"{error} {error!r}"
    assert KEY not in shown
    with pytest.raises(LaunchError) as raised:
        read(_wandb_api_key=[KEY])
    assert KEY not in str(raised.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = (*LEAST, "job", "image_uri", "uri", "name", "run_id", "overrides", "resource_args", "_resume_count")


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.booleans())
def test_any_json_is_read_or_refused_in_words(changes: dict[str, Any], over_least: bool) -> None:
    raw = {**LEAST, **changes} if over_least else changes
    try:
        spec = parse(Lease(item_id="i", queue="q", entity="e", spec=raw))
    except LaunchError:
        return
    assert all((spec.entity, spec.project, spec.resource))
    assert sum(map(bool, (spec.image, spec.job, spec.scheduler))) <= 1


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["--queue", "'q'", "--author", '"O\'Neil"'], ("--queue", "q", "--author", "O'Neil")),
        (["--image_uri", "img:1", "--job", "it's"], ("--image_uri", "img:1", "--job", "it's")),
        (["'not closed", "''"], ("'not closed", "")),
    ],
)
def test_a_schedulers_args_lose_the_quotes_that_were_for_a_shell(
    written: list[str], read: tuple[str, ...]
) -> None:
    raw = {
        "entity": "e",
        "project": "p",
        "uri": "placeholder-uri-scheduler",
        "resource": "local-process",
        "overrides": {"entry_point": ["wandb", "scheduler", "s1"], "args": written},
    }
    assert parse(Lease(item_id="i", queue="q", entity="e", spec=raw)).overrides.args == read
    raw["uri"], raw["docker"], raw["resource"] = "", {"docker_image": "img:1"}, "local-container"
    assert parse(Lease(item_id="i", queue="q", entity="e", spec=raw)).overrides.args == tuple(written)


@pytest.mark.parametrize(("given", "user"), [(None, None), ("", None), (0, 0), (1234, 1234), ("1234", 1234)])
def test_the_user_of_a_built_image(given: object, user: int | None) -> None:
    assert read(job="e/p/j:v0", docker={"user_id": given}).user_id == user
