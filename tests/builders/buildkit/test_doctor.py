"""What `launch-agent doctor` says of the builder buildkit."""

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
from tests.fakes.buildkit import Daemon


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with Server(data_dir=tmp_path_factory.mktemp("server"), entity="team") as server:
        found = Backend(url=server.url, api_key=server.api_key, entity="team")
        found.create_queue("gpu", "local-container")
        yield found


def checked(
    folder: Path, backend: Backend, clients: Path, builder: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The checks by their names."""
    path = folder / "launch-config.yaml"
    config = {"base_url": backend.url, "queues": ["gpu"], "builder": {"type": "buildkit", **builder}}
    path.write_text(json.dumps(config))
    environment = {
        "PATH": f"{clients}:{os.environ['PATH']}",
        "HOME": str(folder),
        "WANDB_API_KEY": backend.api_key,
    }
    done = subprocess.run(
        [sys.executable, "-m", "launch_agent", "doctor", "--config", str(path), "--format", "json"],
        env=environment, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return {line["check"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_the_daemon_is_looked_at(
    tmp_path: Path, backend: Backend, buildkit: Daemon, docker_registry: str
) -> None:
    destination = {"destination": f"{docker_registry}/jobs"}
    good = checked(tmp_path, backend, buildkit.clients, {**destination, "buildkit-address": buildkit.address})
    assert good["builder"]["ok"], good["builder"]
    away = {**destination, "buildkit-address": f"unix://{tmp_path}/no.sock"}
    bad = checked(tmp_path, backend, buildkit.clients, away)
    assert not bad["builder"]["ok"]
    assert "no.sock" in bad["builder"]["error"]
    assert "buildkit-address" in bad["builder"]["hint"]
