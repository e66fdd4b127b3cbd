"""Runs a program that builds: its output line by line, an end on request, and none that outlives the agent.

The program gets a process group of its own, so that a signal to the agent's does not reach it in the middle
of a build, and ends as one. Should the agent be killed, Linux ends the program (PR_SET_PDEATHSIG): a few
lines of Python ask for that and become the program, since asking between fork and exec is not safe in a
process with threads. Elsewhere it ends when it next writes a line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LOOK_SECONDS = 0.2
# From the request to end until it is made to.
_GRACE_SECONDS = 5.0
# 1: PR_SET_PDEATHSIG of <linux/prctl.h>. A parent that was gone before is noticed by its number.
_BOUND = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM)\n"
    "os.getppid() == int(sys.argv[1]) or sys.exit(1)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])"
)


def follow(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    line: Callable[[str], None],
    check: Callable[[], None],
    directory: Path | None = None,
) -> int:
    """Run a command to its end; its exit code. `line` is called with each line of what it prints, on another
    thread. `check` is called five times a second; what it raises ends the program and this call. Raises
    OSError where the command cannot be started."""
    process = subprocess.Popen(  # noqa: S603 - what comes from a job is values of flags, or in files
        _bound(command),
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )

    def read() -> None:
        for text in process.stdout or ():
            line(text.rstrip())

    reader = threading.Thread(target=read, name="build-output", daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            check()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
    finally:
        _end(process)
        reader.join()
        if process.stdout:
            process.stdout.close()
    return process.returncode


def _bound(command: Sequence[str]) -> list[str]:
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-ISc", _BOUND, str(os.getpid()), *command]


def _end(process: subprocess.Popen[str]) -> None:
    """The program first, so that it can take its leave; then whatever is left of its group."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
