"""The queue server as a process of its own on a port that stays the same, so that it can be killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import urllib3

from tests.fakes.eventually import eventually


class ServerProcess:
    """`launch-agent server` on a folder. `api_key` is known before it starts; a later start with another one
    knows both. `host` is the address that it listens on."""

    def __init__(
        self, folder: Path, *, entity: str = "team", api_key: str = "c0ffee" * 7, host: str = "127.0.0.1"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._entity = entity
        self._host = host
        self.api_key = api_key
        with socket.socket() as probe:
            probe.bind((host, 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://{host}:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = [
            "--host",
            self._host,
            "--port",
            str(self.port),
            "--entity",
            self._entity,
            "--data-dir",
            str(self._folder),
        ]
        with (self._folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "launch_agent", "server", *arguments],
                env={**os.environ, "WANDB_API_KEY": self.api_key},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, within=30, what=(self._folder / "server.log").read_text())

    def _answers(self) -> bool:
        try:
            return urllib3.request("GET", f"{self.url}/healthz", timeout=1.0, retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def kill(self) -> None:
        """As `kill -9` does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
