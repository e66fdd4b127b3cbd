"""`launch-agent server` as a process: what it says, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.wire import Wire

_KEY = "d" * 40


def _command(*args: str) -> list[str]:
    return [sys.executable, "-m", "launch_agent", "server", *args]


def _env(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "XDG_"))}
    return {**kept, **more}


@contextmanager
def _running(*args: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address, once it serves."""
    process = subprocess.Popen(
        _command("--port", "0", *args),
        env=_env(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        yield process, first.split(" at ")[1].split(" ")[0]
    finally:
        process.kill()
        process.communicate()


def _entity(url: str, key: str) -> tuple[int, str]:
    wire = Wire(url=url, api_key=key)
    try:
        answer = wire.graphql("{ viewer { entity } }")
    finally:
        wire.close()
    return answer.status, answer.data["viewer"]["entity"] if answer.status == 200 else ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_start_shows_a_key_and_a_signal_ends_it_well(tmp_path: Path, number: signal.Signals) -> None:
    with _running("--data-dir", str(tmp_path), "--entity", "team") as (process, url):
        assert process.stdout is not None
        key = next(line for line in process.stdout if "API key" in line).split(": ")[1].strip()
        assert _entity(url, key) == (200, "team")
        process.send_signal(number)
        assert process.wait(20) == 0
    with _running("--data-dir", str(tmp_path), "--entity", "team") as (process, url):
        assert _entity(url, key) == (200, "team")
        process.send_signal(number)
        assert "API key" not in process.communicate(timeout=20)[0]


def test_the_key_comes_from_the_environment_or_rather_from_a_file(tmp_path: Path) -> None:
    with _running("--data-dir", str(tmp_path / "a"), WANDB_API_KEY=_KEY) as (_, url):
        assert _entity(url, _KEY) == (200, "launch")
    file = tmp_path / "key"
    file.write_text(f"{'e' * 40}\n")
    args = ("--data-dir", str(tmp_path / "b"), "--api-key-file", str(file))
    with _running(*args, WANDB_API_KEY=_KEY) as (_, url):
        assert _entity(url, "e" * 40) == (200, "launch")
        assert _entity(url, _KEY)[0] == 401


def test_data_lies_in_the_users_folder_which_is_the_users_alone(tmp_path: Path) -> None:
    with _running(WANDB_API_KEY=_KEY, XDG_DATA_HOME=str(tmp_path)):
        folder = tmp_path / "launch-agent" / "server"
        assert (folder / "queue.db").is_file()
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--database", "mysql://x"], 2, "'mysql' is not a database"),
        (["--port", "70000"], 2, "70000"),
        (["--api-key-file", "/nonexistent"], 2, "does not exist"),
        (["--host", "203.0.113.1"], 3, "listening on 203.0.113.1"),
        (["--database", "sqlite:////nonexistent/q.db"], 3, "opening the database"),
    ],
)
def test_what_cannot_be_is_one_clear_error(tmp_path: Path, args: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        _command("--data-dir", str(tmp_path), *args),
        env=_env(WANDB_API_KEY=_KEY),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("key", ["short", ""])
def test_a_key_file_that_holds_no_key_is_refused(tmp_path: Path, key: str) -> None:
    file = tmp_path / "key"
    file.write_text(key)
    done = subprocess.run(
        _command("--data-dir", str(tmp_path / "d"), "--api-key-file", str(file)),
        env=_env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "API key" in done.stderr
