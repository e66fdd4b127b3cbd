"""A machine within this one: namespaces for mounts, network and processes, and a link between the two.

The node of the tests runs in it. One process holds all of it: when that is killed, the kernel ends every
process in there, and with the last one go its mounts, interfaces and firewall rules. Only its control groups
have to be removed by hand, since they are the system's.

Linux and root only. Addresses are of 10.99.N.0/30 with the first N that nobody uses here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fakes import detached
from tests.fakes.eventually import eventually

_SCRIPT = Path(__file__).with_name("node") / "machine.sh"
_NAME = "machine"
_GROUPS = Path("/sys/fs/cgroup")
_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The interfaces between the system and the machine: a /30 network, and the pods' network behind it."""

    number: int
    interface: str

    @property
    def outside(self) -> str:
        """The system's address, at which the machine and its pods reach what tests serve."""
        return f"10.99.{self.number}.1"

    @property
    def inside(self) -> str:
        return f"10.99.{self.number}.2"

    @property
    def pods(self) -> str:
        return f"10.88.{self.number}.0/24"


def link_of(folder: Path) -> Link:
    """The link of the machine in a folder, as `start` has made it."""
    return _link(folder, int((folder / "link").read_text()))


def _link(folder: Path, number: int) -> Link:
    # 15 characters is the most that an interface's name may have.
    return Link(number=number, interface=f"lat{_hash(folder)}")


def _hash(folder: Path) -> str:
    return hashlib.sha256(str(folder).encode()).hexdigest()[:10]


def group(folder: Path) -> str:
    """The control group (below each controller) of all pods of the machine."""
    return f"/launch-agent-node-{_hash(folder)}"


def start(folder: Path) -> Link:
    """Bring the machine up in an empty folder."""
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    detached.spawn(folder, _NAME, [*unshare, "sh", _SCRIPT, folder])
    ready = folder / "machine.ready"
    eventually(ready.exists, within=_SECONDS, every=0.05, what="the node's machine is up")
    first = str(_first(folder))
    link = _link(folder, _free_number())
    (folder / "link").write_text(str(link.number))
    net = f"--net=/proc/{first}/ns/net"
    for command in (
        ["ip", "link", "add", link.interface, "type", "veth", "peer", "name", "eth0", "netns", first],
        ["ip", "addr", "add", f"{link.outside}/30", "dev", link.interface],
        ["ip", "link", "set", link.interface, "up"],
        ["nsenter", net, "ip", "addr", "add", f"{link.inside}/30", "dev", "eth0"],
        ["nsenter", net, "ip", "link", "set", "eth0", "up"],
        ["ip", "route", "add", link.pods, "via", link.inside, "dev", link.interface],
    ):
        _run(command)
    for controller in _controllers():
        (controller / group(folder).lstrip("/")).mkdir(exist_ok=True)
    return link


def _free_number() -> int:
    used = subprocess.run(["ip", "-o", "-4", "addr"], check=True, capture_output=True, text=True).stdout
    return next(number for number in range(256) if f" 10.99.{number}." not in used)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def _first(folder: Path) -> int:
    """The process id, as the system counts, of the machine's first process; 0 where there is none."""
    parent = detached.pid_of(folder, _NAME)
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return 0
    return int(children[0]) if children else 0


def enter(folder: Path, command: Sequence[str | Path]) -> list[str | Path]:
    """The command that runs a command in the machine."""
    flags = [f"--{name}=/proc/{_first(folder)}/ns/{kind}" for name, kind in _NAMESPACES.items()]
    return ["nsenter", *flags, "--", *command]


_NAMESPACES = {"mount": "mnt", "net": "net", "pid": "pid"}


def processes(program: str, folder: Path) -> list[int]:
    """The process ids, as the system counts, of a program whose flags name the folder."""
    return [
        pid
        for pid, command in _commands()
        if Path(command[0]).name == program and any(str(folder) in word for word in command)
    ]


def _commands() -> Iterator[tuple[int, list[str]]]:
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(path.name), (path / "cmdline").read_text(errors="replace").split("\0")


def stop(folder: Path) -> None:
    """Switch the machine off, whatever runs in it; also one that a killed session has left."""
    if pid := detached.pid_of(folder, _NAME):
        first = _first(folder)
        os.kill(pid, signal.SIGKILL)
        gone = Path(f"/proc/{first or pid}")
        eventually(lambda: not gone.exists(), within=_SECONDS, every=0.05, what="the node's machine is off")
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        _run(["ip", "link", "del", link_of(folder).interface])
    for controller in _controllers():
        _remove_group(controller / group(folder).lstrip("/"))


def _controllers() -> list[Path]:
    """The roots of the control group hierarchies: one for each controller, or the one of version 2."""
    if (_GROUPS / "cgroup.controllers").exists():
        return [_GROUPS]
    return [path for path in _GROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _remove_group(path: Path) -> None:
    """Only folders can be removed there, the innermost first, once their last process is gone."""
    for folder, _, _ in os.walk(path, topdown=False):

        def is_removed(folder: str = folder) -> bool:
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
            return not Path(folder).exists()

        eventually(is_removed, within=_SECONDS, every=0.05, what=f"the control group {folder} is removed")
