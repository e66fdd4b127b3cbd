"""The demo shows what it claims, and does not claim what it does not show."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from launch_agent.cli.demo.code import CodeJobs
from launch_agent.cli.demo.jobs import CODE_JOBS, JOBS, Act, Origin
from launch_agent.cli.demo.view import summary
from launch_agent.queues.session import Session
from launch_agent.spec.secret import Secret
from tests.fakes.docker_engine import TestEngine


def demo(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch_agent", "demo", "--plain", "--folder", str(folder), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.req("QUEUE-2", "AGT-3", "AGT-10", "BLD-13")
def test_ten_processes_end_as_they_must(tmp_path: Path) -> None:
    done = demo(tmp_path, "--on", "process")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every job ended as it must" in done.stdout
    assert done.stdout.count("as it must") == len(JOBS) + 1
    assert "code jobs     left out" in done.stdout
    assert "epoch 6 of 6" in "".join(path.read_text() for path in (tmp_path / "state" / "runs").rglob("log"))


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.req("QUEUE-18", "AGT-10", "JOB-2", "JOB-3", "JOB-5", "BLD-4", "BLD-10", "DKR-7")
def test_twelve_containers_end_as_they_must(tmp_path: Path, docker_engine: TestEngine) -> None:
    done = demo(tmp_path, "--on", "docker", DOCKER_HOST=docker_engine.host)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "containers of" in done.stdout
    assert done.stdout.count("as it must") == len(JOBS) + len(CODE_JOBS) + 1
    assert "train-folder from a folder; train-git from https://127.0.0.1:" in done.stdout
    assert is_gone(docker_engine)


def test_without_git_the_job_from_git_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    session = Session("http://127.0.0.1:9", Secret("k" * 40))
    (job,) = (job for job in CODE_JOBS if job.origin is Origin.GIT)
    code = CodeJobs(tmp_path, "image")
    with ExitStack() as stack:
        assert not code.publish(stack, session, Act(job=job))
    session.close()
    assert code.line == "train-git is left out: git is not installed"


def is_gone(engine: TestEngine) -> bool:
    """Whether no image of a demo is left."""
    return not engine.client.images(filters={"label": "launch-agent.demo"}) and not engine.client.images(
        name="launch-agent-demo"
    )


def test_without_an_engine_that_was_asked_for_it_says_so(tmp_path: Path) -> None:
    done = demo(tmp_path, "--on", "docker", DOCKER_HOST="tcp://127.0.0.1:9")
    assert done.returncode == 3
    assert "Docker engine" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("state", "message"), [("FAILED", "boom"), ("PENDING", ""), ("", ""), ("STOPPED", "")]
)
def test_a_wrong_end_is_called_wrong(tmp_path: Path, state: str, message: str) -> None:
    acts = [Act(job=job, state=job.ends, message=job.reason) for job in JOBS]
    assert summary(acts, tmp_path)[1]
    acts[0].state, acts[0].message = state, message
    text, good = summary(acts, tmp_path)
    assert not good
    assert "WRONG: it must be FINISHED" in text


def test_a_failure_for_another_reason_is_called_wrong(tmp_path: Path) -> None:
    acts = [Act(job=job, state=job.ends, message=job.reason) for job in JOBS]
    (refused,) = (act for act in acts if act.job.forbidden)
    refused.message = "InternalError: surprise"
    assert not summary(acts, tmp_path)[1]
