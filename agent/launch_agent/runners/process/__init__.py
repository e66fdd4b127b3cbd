"""The target resource `local-process`: processes beside the agent, with the agent's own rights.

It is off unless the config turns it on: such a run can read what the agent can read. It gets a clean
environment, a folder of its own and a process group of its own, and it outlives the agent: a small supervisor
(`supervise`) keeps its state in files, which `folder` reads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch_agent.runners import Runner
from launch_agent.runners.process.runner import ProcessRunner


def create(options: Mapping[str, Any]) -> Runner:
    """The runner for `runner.local-process` of the config. Whether it is enabled is the caller's to check."""
    folder = options.get("work-dir") or default_work_dir(os.environ)
    return ProcessRunner(Path(folder).expanduser(), keep=bool(options.get("keep", False)))


def default_work_dir(environment: Mapping[str, str]) -> Path:
    """Where runs live when the config does not say: `runs` in the user's folder for state."""
    state = environment.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(state, "launch-agent", "runs")
