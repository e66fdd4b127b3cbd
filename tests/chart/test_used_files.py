"""What the chart writes for other programs, judged by those: Git, OpenSSH, the Python of the probes."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch_agent.telemetry.health import HealthServer
from launch_agent.telemetry.metrics import Metrics
from tests.fakes.helm import CHART, Helm, one

MINIMAL: dict[str, Any] = {"agent": {"apiKey": "0123456789"}, "launchConfig": {"queues": ["gpu"]}}


def files(helm: Helm, values: str) -> dict[str, str]:
    """The data of the chart's own ConfigMap."""
    data: dict[str, str] = one(helm.template(values), "ConfigMap", "gpu-launch-agent")["data"]
    return data


def container(helm: Helm, **values: Any) -> dict[str, Any]:
    deployment = one(helm.template({**MINIMAL, **values}), "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.req("CHART-19", "GIT-6")
@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
def test_git_takes_the_credentials_and_writes_none(helm: Helm, tmp_path: Path) -> None:
    values = (CHART / "ci" / "git-values.yaml").read_text(encoding="utf-8")
    credentials = tmp_path / "credentials"
    credentials.write_text("https://robot:token%2F2@git.example.com\n", encoding="utf-8")
    config = files(helm, values)["gitconfig"].replace("/etc/launch-agent/git/credentials", str(credentials))
    (tmp_path / ".gitconfig").write_text(config, encoding="utf-8")

    def git(action: str, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "credential", action],
            input=text,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    filled = git("fill", "protocol=https\nhost=git.example.com\n\n")
    assert "username=robot\npassword=token/2\n" in filled.stdout
    before = credentials.read_text(encoding="utf-8")
    stored = git("approve", "protocol=https\nhost=other.example.com\nusername=a\npassword=b\n\n")
    assert (stored.returncode, stored.stderr) == (0, "")
    assert credentials.read_text(encoding="utf-8") == before


@pytest.mark.req("GIT-3", "GAP-16")
@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh here")
@pytest.mark.parametrize(("strict", "checks"), [("true", "true"), ("false", "false")])
def test_ssh_reads_the_config_as_it_is_meant(helm: Helm, tmp_path: Path, strict: str, checks: str) -> None:
    values = (CHART / "ci" / "git-values.yaml").read_text(encoding="utf-8")
    config = tmp_path / "config"
    config.write_text(
        files(helm, f"{values}\nstrictHostKeyChecking: {strict}\n")["ssh_config"], encoding="utf-8"
    )
    said = subprocess.run(
        ["ssh", "-G", "-F", config, "git@git.example.com"],
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout.splitlines()  # fmt: skip
    assert "identityfile /etc/launch-agent/ssh/key-1" in said
    assert "identityfile /etc/launch-agent/ssh/key-0" not in said
    assert "identitiesonly yes" in said
    assert "batchmode yes" in said
    assert f"stricthostkeychecking {checks}" in said
    hosts = "/etc/launch-agent/ssh/known_hosts" if checks == "true" else "/dev/null"
    assert f"userknownhostsfile {hosts}" in said


@pytest.fixture
def health() -> Iterator[HealthServer]:
    server = HealthServer("127.0.0.1", 0, Metrics(), ready=lambda: (False, "not yet"))
    server.start()
    yield server
    server.stop()


def probe(helm: Helm, name: str, port: int, path: Path) -> int:
    """The exit code of a probe's own command, `path` being all the folders that have commands."""
    rendered = container(helm, metrics={"port": port})
    _, flags, script = rendered[f"{name}Probe"]["exec"]["command"]
    done = subprocess.run([sys.executable, flags, script], env={"PATH": str(path)}, check=False, timeout=30)
    return done.returncode


def test_the_probe_says_what_the_agent_answers(helm: Helm, health: HealthServer, tmp_path: Path) -> None:
    assert probe(helm, "liveness", health.port, tmp_path) == 0
    assert probe(helm, "readiness", health.port, tmp_path) == 1


def test_the_probe_lets_an_agent_pass_that_listens_nowhere(helm: Helm, tmp_path: Path) -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else gets the port, and whoever asks is refused.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert probe(helm, "liveness", port, tmp_path) == 0
        ours = tmp_path / "launch-agent"
        ours.write_text("#!/bin/sh\n", encoding="utf-8")
        ours.chmod(0o755)
        assert probe(helm, "liveness", port, tmp_path) == 1
