"""The environment of a run: the client's contract, and texts that come out of their chunks unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import LaunchError
from launch_agent.spec.model import Overrides, RunIdentity, RunSpec
from launch_agent.spec.runenv import RunEnv, chunks, make
from launch_agent.spec.secret import Secret

IDENTITY = RunIdentity(
    agent="agent", item_id="item", queue="q", queue_entity="qe", run_id="r1", entity="team", project="proj"
)
IMAGE_RUN = RunSpec(entity="team", project="proj", resource="local-container", image="img:1")
AGENT_KEY = Secret("a" * 40)
USER_KEY = Secret("b" * 40)


def env_of(spec: RunSpec, *, limit: int = 32670, image: str = "img:1", key: Secret = AGENT_KEY) -> RunEnv:
    return make(spec, IDENTITY, base_url="https://api", api_key=key, env_limit=limit, image=image)


def as_the_client_joins(env: Mapping[str, str], name: str) -> Any:
    """What `wandb.init()` does: the whole variable if it is there, else the numbered ones up to a gap."""
    if name in env:
        return json.loads(env[name])
    parts, number = [], 0
    while f"{name}_{number}" in env:
        parts.append(env[f"{name}_{number}"])
        number += 1
    assert parts, f"neither {name} nor {name}_0"
    assert not [key for key in env if key.startswith(f"{name}_") and key[len(name) + 1 :].isdigit()][number:]
    return json.loads("".join(parts))


def test_an_image_run_has_exactly_this() -> None:
    made = env_of(IMAGE_RUN)
    assert made.env == {
        "WANDB_BASE_URL": "https://api",
        "WANDB_PROJECT": "proj",
        "WANDB_ENTITY": "team",
        "WANDB_LAUNCH": "True",
        "WANDB_RUN_ID": "r1",
        "WANDB_DOCKER": "img:1",
        "WANDB_LAUNCH_QUEUE_NAME": "q",
        "WANDB_LAUNCH_QUEUE_ENTITY": "qe",
        "WANDB_LAUNCH_TRACE_ID": "item",
        "WANDB_CONFIG": "{}",
    }
    assert made.secret_env == {"WANDB_API_KEY": AGENT_KEY}


def test_everything_that_a_job_can_add() -> None:
    spec = replace(
        IMAGE_RUN,
        image="",
        job="team/p/job-x:v1",
        name="my run",
        author="alice",
        sweep_id="s1",
        resume_count=1,
        overrides=Overrides(
            run_config={"lr": 0.1}, files={"c.yaml": {"a": 1}}, artifacts={"data": "team/p/d:v0"}
        ),
    )
    env = env_of(spec).env
    assert env["WANDB_NAME"] == "my run"
    assert env["WANDB_SWEEP_ID"] == "s1"
    assert env["WANDB_RESUME"] == "allow"
    assert env["WANDB_CONFIG"] == '{"lr":0.1}'
    assert json.loads(env["WANDB_LAUNCH_FILE_OVERRIDES"]) == {"c.yaml": {"a": 1}}
    assert json.loads(env["WANDB_ARTIFACTS"]) == {"_wandb_job": "team/p/job-x:v1", "data": "team/p/d:v0"}


@pytest.mark.req("SEC-3")
def test_the_author_is_the_submitter() -> None:
    named = replace(IMAGE_RUN, author="alice")
    assert env_of(named).env["WANDB_USERNAME"] == "alice"
    with_key = env_of(replace(named, api_key=USER_KEY))
    assert "WANDB_USERNAME" not in with_key.env
    assert with_key.secret_env == {"WANDB_API_KEY": USER_KEY}


def test_the_key_is_no_plain_variable_and_not_shown() -> None:
    made = env_of(replace(IMAGE_RUN, api_key=USER_KEY))
    assert not [value for value in made.env.values() if USER_KEY.reveal() in value]
    assert USER_KEY.reveal() not in repr(made)
    assert env_of(IMAGE_RUN, key=Secret("")).secret_env == {}


def test_a_process_has_no_image() -> None:
    assert "WANDB_DOCKER" not in env_of(replace(IMAGE_RUN, image=""), image="").env


def test_artifacts_cannot_be_cut() -> None:
    spec = replace(IMAGE_RUN, overrides=Overrides(artifacts={"slot": "x" * 600}))
    with pytest.raises(LaunchError, match=r"611 characters.*holds 512"):
        env_of(spec, limit=512)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
CONFIG = st.dictionaries(st.text(max_size=8), JSON, max_size=6)


@given(CONFIG, st.integers(1, 64) | st.integers(1, 5000))
def test_a_config_comes_out_of_its_chunks_unchanged(config: dict[str, Any], limit: int) -> None:
    env = env_of(replace(IMAGE_RUN, overrides=Overrides(run_config=config, files=config)), limit=limit).env
    assert as_the_client_joins(env, "WANDB_CONFIG") == config
    if config:
        assert as_the_client_joins(env, "WANDB_LAUNCH_FILE_OVERRIDES") == config
    cut = {key: text for key, text in env.items() if "CONFIG" in key or "OVERRIDES" in key}
    assert all(text.isascii() and 0 < len(text.encode()) <= limit for text in cut.values())


@given(st.text(), st.integers(1, 40))
def test_chunks_are_full_and_joined_are_the_text(text: str, limit: int) -> None:
    parts = chunks("N", text, limit)
    assert "".join(parts.values()) == text
    if len(text) <= limit:
        assert list(parts) == ["N"]
    else:
        assert list(parts) == [f"N_{number}" for number in range(len(parts))]
        assert [len(part) for part in parts.values()][:-1] == [limit] * (len(parts) - 1)


def test_a_text_of_exactly_the_limit_is_whole() -> None:
    assert chunks("N", "x" * 512, 512) == {"N": "x" * 512}
    assert chunks("N", "x" * 513, 512) == {"N_0": "x" * 512, "N_1": "x"}
    with pytest.raises(ValueError, match="no room"):
        chunks("N", "x", 0)
