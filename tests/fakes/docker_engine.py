"""A Docker engine for tests: the one that answers, or a private one that is started and stopped here.

One engine serves all test processes of a user on this machine, however many sessions and workers there are:
each holds a shared lock on one file while it uses the engine, and who is alone at its end stops it. Locks go
with their process, so a session that is killed leaves an engine that the next one uses and stops.

The private engine has no bridge and touches no firewall: containers get the network `none` or `host`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launch_agent.clients.docker_engine import Engine, connect
from launch_agent.errors import RunnerError
from tests.fakes.eventually import eventually

_START_SECONDS = 40.0
_STOP_SECONDS = 40.0


class NoEngine(Exception):
    """Why there is no engine for the tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestEngine:
    """`host` is the engine's address, `network` one that every engine has, `private` whether it is ours."""

    __test__ = False  # pytest collects classes of this name

    host: str
    network: str
    private: bool
    client: Engine


@contextmanager
def engine() -> Iterator[TestEngine]:
    """The engine that DOCKER_HOST, a context or a socket names if it answers, else a private one.

    Raises NoEngine where there is neither.
    """
    try:
        client = connect()
    except RunnerError as error:
        if os.environ.get("DOCKER_HOST"):
            raise NoEngine(f"DOCKER_HOST is set, and {error.message}") from error
    else:
        yield TestEngine(host=client.address, network="none", private=False, client=client)
        client.close()
        return
    check_possible()
    folder = Path(tempfile.gettempdir(), f"launch-agent-tests-{os.getuid()}")
    with private_engine(folder) as host:
        client = connect(host)
        yield TestEngine(host=host, network="none", private=True, client=client)
        client.close()


def check_possible() -> None:
    """Raise NoEngine where no private engine can be started."""
    if not sys.platform.startswith("linux"):
        raise NoEngine("no Docker engine answers, and one of our own needs Linux")
    if os.getuid() != 0:
        raise NoEngine("no Docker engine answers, and only root may start one")
    if shutil.which("dockerd") is None:
        raise NoEngine("no Docker engine answers, and dockerd is not installed (`make system`)")


@contextmanager
def private_engine(folder: Path) -> Iterator[str]:
    """The private engine's address, for as long as somebody uses it."""
    lock = folder.with_suffix(".lock")
    with locked(lock):
        folder.mkdir(mode=0o700, exist_ok=True)
        users = os.open(folder / "users", os.O_CREAT | os.O_RDONLY, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)
        host = _start(folder)
    try:
        yield host
    finally:
        with locked(lock):
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # another process still uses the engine, and will be the one to stop it
            else:
                _stop(folder)
            os.close(users)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among all processes, for as long as the block runs. The file goes with the lock, so a process
    that waited for a file that went must begin again."""
    while True:
        number = os.open(path, os.O_CREAT | os.O_RDONLY, 0o600)
        fcntl.flock(number, fcntl.LOCK_EX)
        try:
            if path.stat().st_ino == os.fstat(number).st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(number)
    try:
        yield
    finally:
        path.unlink()
        os.close(number)


def _start(folder: Path) -> str:
    host = f"unix://{folder}/docker.sock"
    if pid_of(folder):
        return host
    _end_left_over(folder)
    for name in ("data", "exec"):
        _clean(folder / name)
    for name in ("pid", "docker.sock"):
        (folder / name).unlink(missing_ok=True)
    with (folder / "dockerd.log").open("wb") as log:
        subprocess.run(
            # setsid -f: the engine is nobody's child, so it may outlive the test process that started it.
            ["setsid", "-f", "dockerd", f"--host={host}", f"--pidfile={folder}/pid",
             f"--data-root={folder}/data", f"--exec-root={folder}/exec",
             "--bridge=none", "--iptables=false", "--ip6tables=false"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, timeout=10,
        )  # fmt: skip
    try:
        eventually(lambda: _answers(host), within=_START_SECONDS, every=0.1, what="dockerd answers")
    except AssertionError as error:
        said = (folder / "dockerd.log").read_text(errors="replace")[-2000:]
        if pid := pid_of(folder):
            os.kill(pid, signal.SIGKILL)
        _end_left_over(folder)
        _clean(folder)
        raise NoEngine(f"dockerd was started and does not answer: {said}") from error
    return host


def _answers(host: str) -> bool:
    try:
        connect(host).close()
    except RunnerError:
        return False
    return True


def pid_of(folder: Path) -> int:
    """The engine's process id; 0 where it does not run."""
    try:
        pid = int((folder / "pid").read_text())
    except (OSError, ValueError):
        return 0
    return pid if _is_dockerd(pid) else 0


def _is_dockerd(pid: int) -> bool:
    """Whether the process lives, and was not given the number later; one that nobody has reaped is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return "(dockerd)" in stat and not stat.rpartition(")")[2].startswith(" Z")


def _stop(folder: Path) -> None:
    pid = pid_of(folder)
    if pid:
        # Running containers would each be waited for.
        client = connect(f"unix://{folder}/docker.sock")
        for container in client.containers(all=True):
            client.remove_container(container["Id"], force=True)
        client.close()
        os.kill(pid, signal.SIGTERM)
        # Its pid file goes some time before the process does.
        eventually(lambda: not _is_dockerd(pid), within=_STOP_SECONDS, every=0.05, what="dockerd ends")
    _end_left_over(folder)
    _clean(folder)


def _end_left_over(folder: Path) -> None:
    """End what a killed engine leaves running: its containerd, and each container with its shim."""
    ours = f"{folder}/exec/".encode()
    # All are found before the first is killed: its children would get another parent.
    processes = list(_processes())
    parents = {pid for pid, command, _ in processes if ours in command}
    for pid, _, parent in processes:
        if pid in parents or parent in parents:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, bytes, int]]:
    """The process id, command line and parent of each process."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            yield int(path.name), (path / "cmdline").read_bytes(), parent
        except OSError:
            continue


def _clean(folder: Path) -> None:
    """Remove what an engine leaves, a killed one included."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([path for path in mounts if f"{path}/".startswith(f"{folder}/")]):
        subprocess.run(["umount", "-l", mount], check=False, timeout=10)
    # containerd's last processes may still put files in while we remove them.
    deadline = time.monotonic() + 10
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=time.monotonic() < deadline)
