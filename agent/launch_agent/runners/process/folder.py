"""Reads the folder of a run that `supervise` keeps (its docstring says what lies there)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from launch_agent.spec import identity
from launch_agent.spec.model import RunIdentity


@dataclass(frozen=True, slots=True)
class Folder:
    """One run's folder. Nothing is remembered: each question looks at the disk."""

    path: Path

    def identity(self) -> RunIdentity | None:
        """Whose run this is; None where the folder is not one of a run."""
        try:
            state = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
            return identity.from_labels(state["labels"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def exit_code(self) -> int | None:
        try:
            return int((self.path / "exit").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def is_supervised(self) -> bool:
        """Whether the supervisor lives."""
        return _is_locked(self.path / "lock")

    def is_stopped(self) -> bool:
        """Whether a stop was asked for."""
        return (self.path / "stopped").exists()

    def is_reported(self) -> bool:
        """Whether the end of a run whose folder is kept has been told."""
        return (self.path / "reported").exists()

    def note_reported(self) -> None:
        (self.path / "reported").touch()

    def stop(self) -> None:
        """Ask the supervisor to end the run; nothing where there is none. Raises PermissionError."""
        # While the lock is held, the number in it is the supervisor's and nobody else's.
        if (pid := self._number("lock")) and self.is_supervised():
            _send(pid, signal.SIGUSR1, group=False)

    def end_orphans(self) -> None:
        """End what a supervisor that was killed has left running."""
        # While `alive` is held, a process of the group lives, and its number is not given to another.
        if (pid := self._number("child")) and _is_locked(self.path / "alive"):
            # A Mac says PermissionError of a group whose processes are dead already.
            with contextlib.suppress(PermissionError):
                _send(pid, signal.SIGKILL, group=True)

    def log_end(self, size: int) -> bytes:
        """The last `size` bytes of what was printed."""
        try:
            with (self.path / "log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - size))
                return file.read(size)
        except FileNotFoundError:
            return b""

    def _number(self, name: str) -> int:
        try:
            return int((self.path / name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0


def _is_locked(path: Path) -> bool:
    try:
        number = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(number)
    return False


def _send(pid: int, number: int, *, group: bool) -> None:
    try:
        (os.killpg if group else os.kill)(pid, number)
    except ProcessLookupError:
        return
