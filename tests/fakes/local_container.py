"""A job's command as a process of this machine, for servers that stand in for a cloud which runs containers.

It has the variables that the job was given and no others, ends with everything that it has started, and hands
over what it prints line by line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

# What a container engine says of a program that is not there.
NOT_FOUND = 127
# Where a log service cuts one line in two (CloudWatch Logs and Cloud Logging: 256 KiB).
_LONGEST_LINE = 256 * 1024


class LocalContainer:
    """`printed` gets each line, `ended` the exit code as a shell would give it. Stopping sends SIGTERM, and
    SIGKILL after `grace` seconds."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        printed: Callable[[str], None],
        ended: Callable[[int], None],
        grace: float,
    ) -> None:
        self._printed = printed
        self._ended = ended
        self._grace = grace
        self._timer: threading.Timer | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                list(command),
                env={"PATH": os.defpath, **env},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError:
            printed(f'exec: "{command[0]}": executable file not found in $PATH')
            ended(NOT_FOUND)
            return
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._reader.start()
        self._waiter.start()

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._signal(signal.SIGTERM)
        self._timer = threading.Timer(self._grace, self.kill)
        self._timer.daemon = True
        self._timer.start()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill what still runs, and wait until it is told."""
        if self._process is not None:
            self.kill()
            self._waiter.join(10)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while line := pipe.readline(_LONGEST_LINE):
                self._printed(line.decode(errors="replace").rstrip("\n"))

    def _wait(self) -> None:
        assert self._process is not None
        code = self._process.wait()
        self._signal(signal.SIGKILL)  # what it has left running
        self._reader.join(10)
        if self._timer is not None:
            self._timer.cancel()
        self._ended(code if code >= 0 else 128 - code)
