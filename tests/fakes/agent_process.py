"""`launch-agent start` as a process of its own, the way users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.eventually import eventually


class AgentProcess:
    """An agent on the queues of a server. `config` is laid over a config that runs processes, `environment`
    over the test's own; `log` is what it has written. Leaving the context ends it at once."""

    def __init__(
        self,
        folder: Path,
        url: str,
        api_key: str,
        environment: Mapping[str, str] | None = None,
        **config: Any,
    ) -> None:
        self._folder = folder
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WANDB_")},
            "WANDB_API_KEY": api_key,
            "HOME": str(folder),
            **(environment or {}),
        }
        full: Mapping[str, Any] = {
            "name": "test-agent",
            "base_url": url,
            "entity": "team",
            "queues": ["q"],
            "max_jobs": 4,
            "poll-interval": 0.2,
            "state-dir": str(folder / "state"),
            "runner": {"local-process": {"enabled": True}},
            "policy": {"allow": {"local-process": {"entry-point": True}}},
            **config,
        }
        self.config = folder / "launch-config.yaml"
        self.config.write_text(json.dumps(full))
        self.log_file = folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *, ready: bool = True) -> None:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "launch_agent", "start", "-c", str(self.config)],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if ready:
            polls = self.log.count(" polls ")
            eventually(
                lambda: self.log.count(" polls ") > polls or " polls " in self.log, within=30, what=self.log
            )

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, within: float = 30.0) -> int:
        assert self.process is not None
        return self.process.wait(within)

    def kill(self) -> None:
        """As `kill -9` does."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
