"""Programs that outlive the process which started them: a folder holds each one's process id and its log.

What serves all test processes of a machine is nobody's child; whoever comes later finds it by its folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.eventually import eventually

_STOP_SECONDS = 20.0


def spawn(folder: Path, name: str, command: Sequence[str | Path], *, path: str = "") -> None:
    """Start a program (setsid -f), its process id in `name`.pid, what it says in `name`.log. `path` stands
    before the PATH that it gets."""
    # By a rename: a file that is there and still empty would look like a program that has ended.
    script = 'echo $$ >"$0.new"; mv "$0.new" "$0"; exec "$@"'
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    with (folder / f"{name}.log").open("wb") as log:
        subprocess.run(
            ["setsid", "-f", "sh", "-c", script, str(folder / f"{name}.pid"), *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, check=True, timeout=10,
            env=environment,
        )  # fmt: skip


def pid_of(folder: Path, name: str) -> int:
    """A program's process id; 0 where it does not run, or the number was given to another one later."""
    try:
        pid = int((folder / f"{name}.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    # Its flags, and before its exec those of the shell, name both; a zombie has no command line.
    return pid if name.encode() in command and str(folder).encode() in command else 0


def was_started(folder: Path, name: str) -> bool:
    return (folder / f"{name}.pid").exists()


def stop(folder: Path, name: str) -> None:
    """End a program, by force where it does not go."""
    pid = pid_of(folder, name)
    if not pid:
        return
    for sign in (signal.SIGTERM, signal.SIGKILL):
        os.kill(pid, sign)
        if _has_ended(folder, name):
            break


def _has_ended(folder: Path, name: str) -> bool:
    try:
        eventually(lambda: not pid_of(folder, name), within=_STOP_SECONDS, every=0.05)
    except AssertionError:
        return False
    return True


def last_words(folder: Path, *names: str) -> str:
    """The ends of the programs' logs."""
    logs = [folder / f"{name}.log" for name in names]
    return "\n".join(log.read_text(errors="replace")[-1000:] for log in logs if log.exists())
