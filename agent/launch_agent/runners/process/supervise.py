"""Stays beside one process from its start to its end, so that the agent may come and go.

Run as a script (`python -I -S supervise.py FOLDER GRACE`) with the command on standard input; it imports
nothing of the package and little else, for it costs its memory once per run. It answers one line: `ok`,
`exists`, or `failed` and why.

What it leaves in FOLDER, for `runners.process.folder` to read:

    run.json   as it came on standard input
    lock       its process id; locked as long as it lives, however it dies: the test of life that no
               re-used process id can fool
    alive      locked as long as the process or any of its descendants lives
    child      the process id of the process, which leads its own process group
    log        what the process printed
    work/      where it runs
    stopped    there once a stop was asked for (SIGUSR1)
    exit       the exit code; 128 and the signal's number where a signal ended it

The folder is made under another name and then renamed: there is no moment at which half of it can be seen,
and of two supervisors with the same folder one starts a process.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys

_NOT_INHERITED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM)
_FILES = ("run.json", "lock", "alive", "log", "child")


def main() -> None:
    folder, grace = sys.argv[1], int(sys.argv[2])
    parts = _read_all(0).split(b"\0")
    # The count comes first: an agent that dies while it writes must not start half a command.
    if len(parts) != int(parts[0] or 0) + 1:
        os._exit(2)
    if os.fork():
        os._exit(0)
    state, cwd, length = parts[1], parts[2], int(parts[3])
    command, variables = parts[4 : 4 + length], parts[4 + length :]
    env = dict(variable.split(b"=", 1) for variable in variables)
    made = f"{folder}.new-{os.getpid()}"
    log, alive = _make(made, state)
    # From the moment that the folder can be seen, a stop may be asked for; it waits until there is a process.
    signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_INHERITED)
    try:
        os.rename(made, folder)  # noqa: PTH104 - pathlib would cost a megabyte per run
    except OSError:
        _remove(made)
        _answer("exists")
        return
    _supervise(folder, grace, command, env, cwd, log, alive)


def _read_all(number: int) -> bytes:
    pieces = []
    while piece := os.read(number, 65536):
        pieces.append(piece)
    return b"".join(pieces)


def _make(folder: str, state: bytes) -> tuple[int, int]:
    """Make the folder; hand back the log's and the inheritable lock's file numbers."""
    os.mkdir(folder, 0o700)  # noqa: PTH102
    os.mkdir(f"{folder}/work", 0o700)  # noqa: PTH102
    _write(f"{folder}/run.json", state)
    # The lock's file number stays open, and is not inherited, until this process ends.
    fcntl.flock(_write(f"{folder}/lock", str(os.getpid()).encode(), keep=True), fcntl.LOCK_EX)
    alive = _write(f"{folder}/alive", b"", keep=True)
    fcntl.flock(alive, fcntl.LOCK_EX)
    os.set_inheritable(alive, True)
    return _write(f"{folder}/log", b"", keep=True), alive


def _write(path: str, content: bytes, *, keep: bool = False) -> int:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(number, content)
    if not keep:
        os.close(number)
    return number


def _supervise(
    folder: str, grace: int, command: list[bytes], env: dict[bytes, bytes], cwd: bytes, log: int, alive: int
) -> None:
    child = 0
    ending = False

    def end(number: int, _frame: object) -> None:
        nonlocal ending
        if number == signal.SIGUSR1:
            _write(f"{folder}/stopped", b"")
        if not ending:
            ending = True
            _signal(child, signal.SIGTERM)
            signal.alarm(grace)

    signal.signal(signal.SIGUSR1, end)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, lambda *_: _signal(child, signal.SIGKILL))
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.chdir(os.path.join(os.fsencode(folder), b"work", cwd))  # noqa: PTH118
        os.environb[b"PATH"] = env.get(b"PATH", os.defpath.encode())
        moves = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        child = os.posix_spawnp(
            command[0], command, env, file_actions=moves, setpgroup=0, setsigmask=(), setsigdef=_NOT_INHERITED
        )
    except (OSError, ValueError) as error:  # ValueError: a variable without a name
        _remove(folder)
        what = os.fsdecode(getattr(error, "filename", None) or command[0])
        _answer(f"failed {getattr(error, 'strerror', None) or error}: {what}")
        return
    os.close(alive)
    _write(f"{folder}/child", str(child).encode())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_INHERITED)
    _answer("ok")
    os.dup2(log, 2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    # What the process started and left behind ends with it, as in a container.
    _signal(child, signal.SIGKILL)
    _write(f"{folder}/exit.new", str(code if code >= 0 else 128 - code).encode())
    os.rename(f"{folder}/exit.new", f"{folder}/exit")  # noqa: PTH104


def _signal(group: int, number: int) -> None:
    try:  # noqa: SIM105 - one module less to import
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass  # the group is empty; a Mac says so with the second error


def _remove(folder: str) -> None:
    for name in _FILES:
        try:  # noqa: SIM105 - as above
            os.unlink(f"{folder}/{name}")  # noqa: PTH108
        except FileNotFoundError:
            pass
    os.rmdir(f"{folder}/work")  # noqa: PTH106
    os.rmdir(folder)  # noqa: PTH106


def _answer(text: str) -> None:
    try:  # noqa: SIM105 - one module less to import
        os.write(1, text.encode(errors="replace"))
    except BrokenPipeError:
        pass  # the agent was killed while it waited; the next one finds the folder
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)


if __name__ == "__main__":
    main()
