"""`launch-agent doctor` against a real server and a real engine, and against a world that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch_agent.server.serve import Server
from tests.fakes.backend import Backend
from tests.fakes.docker_engine import TestEngine


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with Server(data_dir=tmp_path_factory.mktemp("server"), entity="team") as server:
        found = Backend(url=server.url, api_key=server.api_key, entity="team")
        found.create_queue("gpu", "local-container")
        yield found


def doctor(
    folder: Path, backend: Backend, config: dict[str, Any], *flags: str, key: str = ""
) -> subprocess.CompletedProcess[str]:
    path = folder / "launch-config.yaml"
    path.write_text(json.dumps({"base_url": backend.url, "builder": {"type": "noop"}, **config}))
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "WANDB_API_KEY": key or backend.api_key}
    return subprocess.run(
        [sys.executable, "-m", "launch_agent", "doctor", "--config", str(path), *flags],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.docker
def test_all_is_well(tmp_path: Path, backend: Backend, docker_engine: TestEngine) -> None:
    before = backend.agents()
    config = {
        "queues": ["gpu"],
        "builder": {"type": "docker"},
        "runner": {"local-container": {"host": docker_engine.host}},
    }
    done = doctor(tmp_path, backend, config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    queue gpu: its jobs run on local-container" in done.stdout
    assert "ok    builder: docker (the config says so)" in done.stdout
    assert "ok    target local-container: can be used" in done.stdout
    assert backend.api_key not in done.stdout
    assert backend.agents() == before


def test_everything_that_is_missing_is_named_with_what_to_do(tmp_path: Path, backend: Backend) -> None:
    config = {
        "queues": ["gpu", "absent"],
        "builder": {"type": "docker", "destination": "127.0.0.1:9/jobs"},
        "runner": {"local-container": {"host": f"unix://{tmp_path}/no.sock"}},
    }
    done = doctor(tmp_path, backend, config, "--format", "json")
    assert done.returncode == 3, done.stdout + done.stderr
    checks = {line["check"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert {name for name, check in checks.items() if not check["ok"]} == {
        "queue absent",
        "registry",
        "builder",
        "target local-container",
    }
    assert "absent" in checks["queue absent"]["error"]
    assert "no.sock" in checks["builder"]["error"]
    assert checks["target local-container"]["hint"]
    assert "Traceback" not in done.stderr


def test_a_wrong_key_is_one_line(tmp_path: Path, backend: Backend) -> None:
    done = doctor(tmp_path, backend, {"queues": ["gpu"]}, key="x" * 40)
    assert done.returncode == 3
    assert "FAIL  backend" in done.stdout
    assert "hint:" in done.stdout


def test_a_cloud_without_credentials_is_named(tmp_path: Path, backend: Backend) -> None:
    config = {"queues": ["gpu"], "environment": {"type": "aws", "region": "us-east-1"}}
    done = doctor(tmp_path, backend, config)
    assert done.returncode == 3
    assert "FAIL  environment aws" in done.stdout


def test_a_config_that_is_wrong_is_that_first(tmp_path: Path, backend: Backend) -> None:
    done = doctor(tmp_path, backend, {"queues": ["gpu"], "builder": {"type": "dokcer"}})
    assert done.returncode == 2
    assert "did you mean 'docker'" in done.stderr
