"""The default rule: an explicit builder wins; else docker where an engine answers; else noop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from launch_agent.config.model import Builder
from launch_agent.control.builder_choice import choose
from tests.fakes.configs import agent_config
from tests.fakes.docker_engine import TestEngine

NOWHERE = {"PATH": "/nowhere", "HOME": "/nowhere"}


@pytest.mark.docker
@pytest.mark.req("BLD-4", "DKR-2", "CLI-10", "CON-3", "CON-9")
def test_docker_where_an_engine_answers(tmp_path: Path, docker_engine: TestEngine) -> None:
    config = agent_config(tmp_path, runner={"local-container": {"host": docker_engine.host}})
    choice = choose(config, {**NOWHERE, "DOCKER_HOST": docker_engine.host})
    assert choice.type == "docker"
    assert "answers" in choice.why


@pytest.mark.req("BLD-5", "CLI-10")
@pytest.mark.parametrize("environment", [NOWHERE, {**NOWHERE, "DOCKER_HOST": "tcp://127.0.0.1:9"}])
def test_noop_where_none_does(tmp_path: Path, environment: dict[str, str]) -> None:
    host = environment.get("DOCKER_HOST", "")
    config = agent_config(tmp_path, runner={"local-container": {"host": host} if host else {}})
    assert choose(config, environment).type == "noop"


@pytest.mark.req("CON-9")
def test_a_docker_command_without_an_engine_is_not_docker(tmp_path: Path) -> None:
    command = tmp_path / "docker"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    config = agent_config(tmp_path, runner={"local-container": {"host": "unix:///nowhere/docker.sock"}})
    choice = choose(config, {**NOWHERE, "PATH": str(tmp_path)})
    assert choice.type == "noop"
    assert "Docker engine" in choice.why


@pytest.mark.docker
@pytest.mark.req("CON-26", "NOOP-1", "NOOP-2", "BLD-13")
def test_an_explicit_builder_wins(tmp_path: Path, docker_engine: TestEngine) -> None:
    for wanted in ("noop", "kaniko"):
        config = replace(agent_config(tmp_path), builder=Builder(type=wanted))
        assert choose(config, {**NOWHERE, "DOCKER_HOST": docker_engine.host}).type == wanted


@pytest.mark.req("JOB-7", "BLD-3")
def test_a_refusal_names_the_setting_and_what_it_is(tmp_path: Path) -> None:
    refusal = choose(agent_config(tmp_path), NOWHERE).refusal("team/p/job-train:v1")
    assert "builder.type is noop" in refusal.message
    assert "'builder'" in refusal.hint
