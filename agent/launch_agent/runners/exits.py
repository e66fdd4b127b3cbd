"""What an exit code tells, in the same words for every target resource that has exit codes."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from launch_agent.spec.model import RunState, RunStatus

# 128 and the number of SIGKILL, as shells and container engines report it.
_KILLED = 137
_HINTS: Mapping[int, str] = {
    126: "126 is a shell's word for a file that may not be executed",
    127: "127 is a shell's word for a program that is not there",
}


def status_of(code: int, *, if_killed: str) -> RunStatus:
    """The end of a run nobody asked to stop. `if_killed` is the hint for one that was killed by SIGKILL."""
    if code == 0:
        return RunStatus(state=RunState.FINISHED, exit_code=0)
    message = f"the run ended with exit code {code}{_signal_in(code)}"
    if code == _KILLED:
        return RunStatus(
            state=RunState.FAILED, reason="Killed", message=message, hint=if_killed, exit_code=code
        )
    hint = _HINTS.get(code, "")
    return RunStatus(state=RunState.FAILED, reason="Error", message=message, hint=hint, exit_code=code)


def _signal_in(code: int) -> str:
    """Shells and engines add 128 to the number of the signal that ended a program."""
    try:
        return f" ({signal.Signals(code - 128).name})"
    except ValueError:
        return ""
