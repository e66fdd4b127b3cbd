"""Runs the real `wandb` package in a folder of its own, against one server, and leaves nothing behind.

The package starts `wandb-core` and other processes in sessions of their own, so that ending a process group
does not end them, and our own agent's process runner starts jobs that outlive it. All of them have the
sandbox's folder, whose name is used once, in their environment; `close` finds them by it and ends them by
their ids. The folder lies directly in the system's temporary folder, since the package puts Unix sockets in
it whose path may have about a hundred characters.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.fakes.eventually import eventually

# What a script prints its result after; the package prints to both streams as it likes.
_RESULT = "--- result: "

_PREAMBLE = f"""
import json, sys

def result(value):
    print("\\n{_RESULT}" + json.dumps(value), flush=True)

"""


class WandbSandbox:
    """One user's home, with the package's interpreter first in PATH.

    `env` is what every process gets. Of the environment that the tests run in it holds PATH alone, so that no
    key, proxy or service of the developer's own reaches them.
    """

    def __init__(self, python: Path, base_url: str, api_key: str) -> None:
        self.python = python
        self.folder = Path(tempfile.mkdtemp(prefix="wb-"))
        self._logs: list[IO[bytes]] = []
        self._started: list[subprocess.Popen[bytes]] = []
        self.env = {
            "PATH": f"{python.parent}:{os.environ.get('PATH', os.defpath)}",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "WANDB_BASE_URL": base_url,
            "WANDB_API_KEY": api_key,
            "WANDB_MODE": "online",
            "WANDB_DIR": str(self.folder),
            "WANDB_CACHE_DIR": str(self.folder / "cache"),
            "WANDB_CONFIG_DIR": str(self.folder / ".config" / "wandb"),
            "WANDB_DATA_DIR": str(self.folder / "data"),
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_DISABLE_GIT": "true",
            "NO_PROXY": "*",
        }

    def run(self, *command: str, timeout: float = 60.0, ok: bool = True) -> str:
        """Run a command to its end; both streams come back as one text. `ok` False allows a failure."""
        # A file, not a pipe: a service that outlives the command would hold a pipe open.
        with tempfile.TemporaryFile("w+b", dir=self.folder) as output:
            done = subprocess.run(
                command,
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                start_new_session=True,
                check=False,
            )
            output.seek(0)
            text = output.read().decode(errors="replace")
        assert done.returncode == 0 or not ok, f"{command} ended with {done.returncode}:\n{text}"
        return text

    def wandb(self, *arguments: str, timeout: float = 60.0, ok: bool = True) -> str:
        """Run the `wandb` command and return what it printed."""
        return self.run(str(self.python.parent / "wandb"), *arguments, timeout=timeout, ok=ok)

    def script(self, body: str, *arguments: str, timeout: float = 60.0) -> Any:
        """Run Python code with the package; returns what the code gave to `result(value)`, by way of JSON."""
        text = self.run(
            str(self.python), "-c", _PREAMBLE + textwrap.dedent(body), *arguments, timeout=timeout
        )
        lines = [line for line in text.splitlines() if line.startswith(_RESULT)]
        assert lines, f"the script gave no result:\n{text}"
        return json.loads(lines[-1].removeprefix(_RESULT))

    def start(
        self, command: Sequence[str], log: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command that goes on; both streams go to the file `log` in the folder."""
        output = (self.folder / log).open("ab")
        self._logs.append(output)
        process = subprocess.Popen(
            command,
            env={**self.env, **(env or {})},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def read(self, log: str) -> str:
        return (self.folder / log).read_text(errors="replace")

    def close(self) -> None:
        """End every process that was started here, directly or not, and remove the folder."""
        eventually(self._is_quiet, within=20.0, every=0.05, what="the end of all processes")
        for process in self._started:
            process.kill()
            process.wait(timeout=10)
        for output in self._logs:
            output.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_quiet(self) -> bool:
        """End what lives; what one of them started meanwhile is found by the next look."""
        living = self.pids()
        for pid in living:
            _end(pid)
        return not living

    def pids(self) -> list[int]:
        """The ids of the living processes that were started here, directly or not. Only Linux tells other
        processes' environment; elsewhere wandb's own end when the one that started them is gone."""
        needle = str(self.folder).encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if needle in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


def stop(
    process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGINT, within: float = 30.0
) -> int:
    """Send a signal to a process and wait for its end; a process that stays is killed, and fails the test."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.wait(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)
        raise AssertionError(f"the process did not end within {within:g} s of {number.name}") from None


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
