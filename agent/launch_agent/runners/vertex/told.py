"""Which ended jobs have been reported, in a file of the agent's state folder.

Custom jobs stay in their project's history and cannot be marked once they are created. Where the file is lost
(a pod's folder goes with the pod), ends of the last day are told once more, which changes nothing.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

_log = logging.getLogger(__name__)
# A day of jobs, and no more than some megabytes.
_MOST = 20_000


class Told:
    """Names of jobs. `file` is None where nothing outlives the process."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._names: dict[str, None] | None = None

    def has(self, name: str) -> bool:
        with self._lock:
            return name in self._load()

    def add(self, name: str) -> None:
        with self._lock:
            names = self._load()
            if name in names:
                return
            names[name] = None
            if self._file is None:
                return
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with self._file.open("a", encoding="utf-8") as lines:
                    lines.write(f"{name}\n")
            except OSError as error:
                _log.warning("cannot note in %s that %s was reported: %s", self._file, name, error)

    def _load(self) -> dict[str, None]:
        if self._names is None:
            lines: list[str] = []
            if self._file is not None and self._file.is_file():
                lines = self._file.read_text(encoding="utf-8", errors="replace").splitlines()
            self._names = dict.fromkeys(lines[-_MOST:])
            if self._file is not None and len(lines) > _MOST:
                self._file.write_text("".join(f"{name}\n" for name in self._names), encoding="utf-8")
        return self._names
