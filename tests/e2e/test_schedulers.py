"""Schedulers of sweeps run beside the agent, by the `wandb` command that is installed there.

The item is as the public backend hands it over: `wandb launch-sweep` writes the word WANDB_SWEEP_ID for the
run id, the name and the command's argument, and the backend puts the sweep's id in its place. Nobody after it
does: `wandb scheduler` takes its argument as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch_agent.server.serve import Server
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.eventually import eventually

# Tells what it was started with, and runs until the test lets it go. $HOME is the test's folder.
WANDB = r"""#!/bin/sh
printf '%s\n' "$@" > "$HOME/argv.$WANDB_RUN_ID.new"
env > "$HOME/env.$WANDB_RUN_ID"
mv "$HOME/argv.$WANDB_RUN_ID.new" "$HOME/argv.$WANDB_RUN_ID"
until [ -e "$HOME/go" ]; do sleep 0.1; done
"""
OPEN = {"policy": {"sweep-schedulers": True, "allow": {"local-process": {"entry-point": True}}}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(data_dir=tmp_path / "server", entity="team") as server:
        yield server


@pytest.fixture
def backend(server: Server) -> Backend:
    backend = Backend(url=server.url, api_key=server.api_key, entity="team")
    backend.create_queue("q", "local-process")
    return backend


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `wandb` command on the agent's PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "wandb").write_text(WANDB)
    (folder / "wandb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def sweep(sweep_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "uri": "placeholder-uri-scheduler",
        "project": "p",
        "name": f"Scheduler.{sweep_id}",
        "run_id": sweep_id,
        "sweep_id": sweep_id,
        "resource": "local-process",
        "resource_args": {},
        "overrides": {
            "entry_point": ["wandb", "scheduler", sweep_id],
            "args": ["--queue", "'q'", "--project", "'p'", "--job", "'team/p/job-train:v0'"],
            "run_config": {"scheduler": {"num_workers": 2}},
        },
        **fields,
    }


def job(script: str) -> dict[str, Any]:
    return {
        "project": "p",
        "resource": "local-process",
        "overrides": {"entry_point": ["sh", "-c", script]},
    }


def state(backend: Backend, item: str) -> str:
    return str(backend.item(item)["detailedState"])


@pytest.mark.usefixtures("command")
def test_a_scheduler_runs_beside_the_agent(server: Server, backend: Backend, tmp_path: Path) -> None:
    """Without `local-process` being turned on: what runs is not the submitter's choice."""
    with AgentProcess(tmp_path, server.url, server.api_key, **OPEN, runner={}) as agent:
        item = backend.push("q", sweep("sw33p1"))
        started = tmp_path / "argv.sw33p1"
        eventually(started.exists, within=30)
        assert started.read_text().splitlines() == [
            "scheduler", "sw33p1", "--queue", "q", "--project", "p", "--job", "team/p/job-train:v0",
        ]  # fmt: skip
        env = dict(line.split("=", 1) for line in (tmp_path / "env.sw33p1").read_text().splitlines())
        assert {name: env[name] for name in env if name.startswith("WANDB_")} == {
            "WANDB_API_KEY": server.api_key,
            "WANDB_BASE_URL": server.url,
            "WANDB_CONFIG": '{"scheduler":{"num_workers":2}}',
            "WANDB_ENTITY": "team",
            "WANDB_LAUNCH": "True",
            "WANDB_LAUNCH_QUEUE_ENTITY": "team",
            "WANDB_LAUNCH_QUEUE_NAME": "q",
            "WANDB_LAUNCH_TRACE_ID": item,
            "WANDB_NAME": "Scheduler.sw33p1",
            "WANDB_PROJECT": "p",
            "WANDB_RUN_ID": "sw33p1",
            "WANDB_SWEEP_ID": "sw33p1",
        }
        assert state(backend, item) == "CLAIMED"
        (tmp_path / "go").touch()
        eventually(lambda: state(backend, item) == "FINISHED", within=30)
    assert server.api_key not in agent.log


@pytest.mark.usefixtures("command")
def test_schedulers_have_a_limit_of_their_own(server: Server, backend: Backend, tmp_path: Path) -> None:
    """A sweep whose scheduler took the only slot would wait for its own runs for ever."""
    with AgentProcess(tmp_path, server.url, server.api_key, **OPEN, max_jobs=1, max_schedulers=2) as agent:
        sweeps = [backend.push("q", sweep(f"sweep{number}")) for number in range(4)]
        eventually(lambda: agent.log.count("goes back") == 2, within=30)
        one = backend.push("q", job("exit 0"))
        two = backend.push("q", job("exit 0"))
        for item in (one, two):
            eventually(lambda item=item: state(backend, item) == "FINISHED", within=30)
        assert [state(backend, item) for item in sweeps] == ["CLAIMED", "CLAIMED", "LEASED", "LEASED"]
        assert sorted(path.name for path in tmp_path.glob("argv.*")) == ["argv.sweep0", "argv.sweep1"]
        (tmp_path / "go").touch()
        eventually(lambda: state(backend, sweeps[1]) == "FINISHED", within=30)


@pytest.mark.usefixtures("command")
def test_a_scheduler_outlives_its_agent_and_is_counted_again(
    server: Server, backend: Backend, tmp_path: Path
) -> None:
    agent = AgentProcess(tmp_path, server.url, server.api_key, **OPEN, runner={}, max_schedulers=1)
    with agent:
        first = backend.push("q", sweep("one"))
        eventually((tmp_path / "argv.one").exists, within=30)
        agent.kill()
        second = backend.push("q", sweep("two"))
        agent.start()
        eventually(lambda: "goes back" in agent.log, within=30)
        assert "is adopted" in agent.log
        assert not (tmp_path / "argv.two").exists()
        (tmp_path / "go").touch()
        eventually(lambda: state(backend, first) == "FINISHED", within=30)
    assert state(backend, second) in ("LEASED", "PENDING")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (OPEN, "needs the 'wandb' command, which is not installed"),
        ({}, "this agent runs none (schedulers are opened with `policy: {sweep-schedulers: true}`)"),
    ],
)
def test_a_scheduler_that_cannot_run_fails_with_the_reason(
    server: Server,
    backend: Backend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    words: str,
) -> None:
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    monkeypatch.setenv("PATH", str(nothing))
    with AgentProcess(tmp_path, server.url, server.api_key, **config):
        item = backend.push("q", sweep("sw33p1"))
        eventually(lambda: state(backend, item) == "FAILED", within=30)
    message = backend.item(item)["error"]["message"]
    assert message.startswith("Refused: ")
    assert words in message


@pytest.mark.usefixtures("command")
def test_a_scheduler_runs_no_command_but_its_own(server: Server, backend: Backend, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with AgentProcess(
        tmp_path, server.url, server.api_key, policy={"sweep-schedulers": True}, runner={}
    ) as agent:
        overrides = {"entry_point": ["sh", "-c", f"touch {mark}"]}
        item = backend.push("q", sweep("sw33p1", overrides=overrides))
        eventually(lambda: state(backend, item) == "FAILED", within=30)
    assert not mark.exists(), agent.log
