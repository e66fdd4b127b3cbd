"""What runs as the first process of a container: hands signals on, and buries the dead.

Whoever is process 1 becomes the parent of every process that loses its own (helpers of Git that was ended),
and must wait for them, or they stay as zombies. The agent knows only its own children, so it is the child of
this one, which imports nothing and costs a megabyte. Where it is not process 1, nothing stands between.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main() -> None:
    """Run the command line, below a process that waits if this is process 1."""
    if os.getpid() == 1 and (child := _fork()):
        sys.exit(_wait(child))
    # Not before: what the parent has imported, it keeps.
    from launch_agent.cli.main import main as run  # noqa: PLC0415

    run()


def _fork() -> int:
    """0 in the child. Signals that come meanwhile wait until both have their handlers."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child:

        def hand_on(number: int, _frame: FrameType | None) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

        for number in _PASSED_ON:
            signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    return child


def _wait(child: int) -> int:
    """The child's exit code, as a shell tells it; whoever else ends meanwhile is waited for too."""
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main()
