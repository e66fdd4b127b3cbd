"""An AgentConfig for tests: small times, no ports, a folder of the test's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from launch_agent.config import load
from launch_agent.config.model import AgentConfig
from launch_agent.spec.secret import Secret


def agent_config(folder: Path, **changes: Any) -> AgentConfig:
    """The schema's defaults with what a test changes."""
    file = folder / "launch-config.yaml"
    if not file.exists():
        file.write_text("queues: [q]\nmax_jobs: 2\nname: test-agent\nentity: team\n")
    config = load.load(file, {"WANDB_API_KEY": "k" * 40, "HOME": str(folder)}, load.Flags())
    own = {"state_dir": folder / "state", "api_key": Secret("k" * 40)}
    return replace(config, **{**own, **changes})
