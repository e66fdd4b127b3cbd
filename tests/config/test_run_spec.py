"""Run specs as they come over the wire: what real clients send passes, what cannot be meant is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.config import schema
from launch_agent.errors import ConfigError

IMAGE: dict[str, Any] = {
    "entity": "e",
    "project": "p",
    "docker": {"docker_image": "repo/image:tag"},
    "resource": "kubernetes",
    "git": {},
    "overrides": {"run_config": {"lr": 0.1}, "args": ["--x", "1"], "entry_point": ["python", "t.py"]},
    "resource_args": {"kubernetes": {"spec": {"template": {"spec": {"containers": [{}]}}}}},
}
JOB: dict[str, Any] = {
    "entity": "e",
    "project": "p",
    "job": "e/p/job-train:v3",
    "docker": {},
    "git": {},
    "overrides": {},
    "resource": "kubernetes",
    "resource_args": {"kubernetes": {}},
    "author": "alice",
    "name": None,
    "run_id": None,
    "sweep_id": {},
    "_resume_count": 2,
    "_wandb_api_key": "k" * 40,
    "key of a client to come": [1],
}
SCHEDULER: dict[str, Any] = {
    "uri": "placeholder-uri-scheduler",
    "entity": "e",
    "project": "p",
    "resource": "local-process",
    "overrides": {"entry_point": ["wandb", "scheduler", "WANDB_SWEEP_ID"], "args": ["--queue", "x"]},
    "resource_args": None,
}


@pytest.mark.parametrize("spec", [IMAGE, JOB, SCHEDULER, {**JOB, "overrides": [], "resource_args": ""}])
def test_what_clients_send_passes(spec: dict[str, Any]) -> None:
    schema.validate("run-spec", spec)


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"entity": None}, "entity", "must be a text, not empty"),
        ({"project": ""}, "project", "must be a text that is not empty"),
        ({"docker": "image"}, "docker", "must be a mapping, not the text"),
        ({"overrides": {"args": {"a": 1}}}, "overrides.args", "not a mapping"),
        (
            {"overrides": {"args": [["a"]]}},
            "overrides.args[0]",
            "must be a text or a number or true or false",
        ),
        ({"resource_args": {"kubernetes": [1]}}, "resource_args.kubernetes", "must be a mapping, not [1]"),
        ({"run_id": "a/b"}, "run_id", "at most 128 characters without spaces"),
        ({"_resume_count": -1}, "_resume_count", "must be at least 0"),
    ],
)
def test_what_cannot_be_meant_is_named(change: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        schema.validate("run-spec", {**IMAGE, **change})
    assert raised.value.path == path
    assert message in raised.value.message
    assert raised.value.file == "run spec"


def test_credentials_are_never_repeated() -> None:
    with pytest.raises(ConfigError) as raised:
        schema.validate("run-spec", {**IMAGE, "_wandb_api_key": ["s3cret"]})
    assert "s3cret" not in str(raised.value)


def test_several_errors_are_counted() -> None:
    with pytest.raises(ConfigError) as raised:
        schema.validate("run-spec", {"docker": 1})
    assert raised.value.hint == "put it in quotes (2 more errors)"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted({*IMAGE, *JOB, *SCHEDULER})), json_values) | json_values)
def test_no_spec_crashes_the_validator(spec: Any) -> None:
    for finding in schema.findings("run-spec", spec):
        assert finding.message
