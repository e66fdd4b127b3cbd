"""`launch-agent start`: its flags reach the agent, and what is wrong ends with exit 2 and one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from launch_agent.cli import start
from launch_agent.config.model import AgentConfig
from launch_agent.control import wiring

KEY = "0" * 40


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[AgentConfig]:
    """The configs that agents were started with; nothing is started."""
    configs: list[AgentConfig] = []

    def run(config: AgentConfig) -> int:
        configs.append(config)
        return 0

    monkeypatch.setattr(wiring, "run", run)
    for name in [name for name in os.environ if name.startswith(("WANDB_", "LAUNCH_AGENT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return configs


def invoke(*arguments: str) -> int:
    result = CliRunner().invoke(start.command, arguments, catch_exceptions=False)
    return result.exit_code


@pytest.mark.req("CLI-1", "CLI-2", "CLI-3", "CLI-4", "CLI-5")
def test_the_documents_command_line(started: list[AgentConfig]) -> None:
    assert invoke("-q", "queue-1", "-q", "queue-2", "--max-jobs", "5", "-e", "team") == 0
    config = started[0]
    assert list(config.queues) == ["queue-1", "queue-2"]
    assert config.max_jobs == 5
    assert config.entity == "team"
    assert config.api_key.reveal() == KEY


@pytest.mark.req("CLI-6")
def test_a_config_file_and_the_flags_that_go_before_it(started: list[AgentConfig], tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("queues: [from-file]\nentity: file-team\nmax_jobs: 3\n")
    assert invoke("--config", str(file)) == 0
    assert (list(started[0].queues), started[0].entity, started[0].max_jobs) == (
        ["from-file"],
        "file-team",
        3,
    )
    assert invoke("-c", str(file), "-q", "mine", "-j", "-1", "-l", "-", "-vv") == 0
    assert (list(started[1].queues), started[1].max_jobs) == (["mine"], -1)
    assert (started[1].log.file, started[1].log.level) == ("-", "debug")


@pytest.mark.req("CLI-7")
def test_the_default_file(started: list[AgentConfig], tmp_path: Path) -> None:
    file = tmp_path / ".config" / "wandb" / "launch-config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("queues: [default-file]\n")
    assert invoke() == 0
    assert list(started[0].queues) == ["default-file"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no queue is named"),
        (["-q", "q", "-c", "missing.yaml"], "missing.yaml"),
        (["-q", "q", "-j", "-3"], "--max-jobs"),
        (["-q", "q", "-j", "many"], "many"),
        (["-q", "q", "--entity"], "--entity"),
    ],
)
def test_what_is_wrong_ends_with_two_and_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "WANDB_API_KEY": KEY}
    done = subprocess.run(
        [sys.executable, "-m", "launch_agent", "start", *arguments],
        capture_output=True,
        text=True,
        env=env,
        cwd=tmp_path,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
