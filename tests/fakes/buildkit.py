"""A BuildKit daemon with its own state, on a socket or a loopback port: the real one, started as root."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.certificates import Certificate
from tests.fakes.eventually import eventually
from tools import buildkit_tools, go_tools

_START_SECONDS = 60.0


class NoBuildkit(Exception):
    """Why there is no BuildKit for the tests."""


class DaemonFailed(Exception):
    """A daemon that could be had did not come up, or has ended."""


@dataclass(kw_only=True)
class Daemon:
    """A daemon that answers at `address`. `clients` is a folder with `buildctl`, to stand first in PATH."""

    address: str
    clients: Path
    folder: Path
    command: Sequence[str]
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        path = f"{go_tools.home() / 'bin'}:{os.environ['PATH']}"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "PATH": path, "TMPDIR": str(self.folder)},
            )
        try:
            eventually(self._answers, within=_START_SECONDS, every=0.05, what="buildkitd answers")
        except AssertionError as error:
            said = self._last_words()
            self.kill()
            raise DaemonFailed(f"buildkitd does not start: {said}") from error

    @property
    def is_dead(self) -> bool:
        return self._process is None

    def kill(self) -> None:
        """As a machine that loses its power does. What it ran ends with it here."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        self.clean()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self.clean()

    def clean(self) -> None:
        """End the containers of a daemon that is gone, and unmount what it left below its folder."""
        for each in Path("/proc").glob("[0-9]*"):
            try:
                root = (each / "root").readlink()
            except OSError:
                continue
            if root.is_relative_to(self.folder):
                os.kill(int(each.name), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
            left = [mount for mount in reversed(mounts) if mount.startswith(f"{self.folder}/")]
            if not left:
                return
            for mount in left:
                subprocess.run(["umount", "-l", mount], check=False, capture_output=True, timeout=20)

    def _answers(self) -> bool:
        """Whether it does what it is asked. It listens before that, and may end between the two."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise DaemonFailed(self._last_words())
        if not self.address.startswith("unix://"):
            return _listens(self.address)  # who is let in is what the tests of it are about
        asked = [str(self.clients / "buildctl"), f"--addr={self.address}", "debug", "workers"]
        return subprocess.run(asked, check=False, capture_output=True, timeout=20).returncode == 0

    def _last_words(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-1000:]


def _listens(address: str) -> bool:
    try:
        with socket.create_connection(_host_and_port(address), timeout=2):
            return True
    except OSError:
        return False


@contextmanager
def daemon(*, mirror: str = "", tls: Certificate | None = None) -> Iterator[Daemon]:
    """`mirror` is a registry without TLS that stands in for Docker Hub. With `tls` it listens on a port, has
    that certificate, and lets in who has one of the same authority. Raises NoBuildkit where there is none,
    DaemonFailed where it does not come up."""
    programs = buildkit_tools.programs()
    if os.getuid() != 0:
        raise NoBuildkit("only root can run a BuildKit daemon here")
    runc = go_tools.home() / "bin" / "runc"
    for program in (programs["buildctl"], programs["buildkitd"], runc):
        if not program.exists():
            raise NoBuildkit(f"{program.name} is not built (`make tools`)")
    # Short: the name of a socket has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="bk-"))
    address = f"tcp://127.0.0.1:{_free_port()}" if tls else f"unix://{folder}/s"
    command = [str(programs["buildkitd"]), f"--addr={address}", f"--config={folder}/buildkitd.toml"]
    if tls:
        command += [f"--tlscert={tls.file}", f"--tlskey={tls.key_file}", f"--tlscacert={tls.authority}"]
    (folder / "buildkitd.toml").write_text(_config(folder, mirror))
    made = Daemon(address=address, clients=programs["buildctl"].parent, folder=folder, command=command)
    try:
        try:
            made.start()
        except DaemonFailed:
            made.start()  # two that begin in one moment on one machine can be in each other's way
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _config(folder: Path, mirror: str) -> str:
    # Host networking: the tests' registries and indexes are on this machine's loopback.
    lines = [
        f'root = "{folder}/root"',
        "[worker.oci]",
        "enabled = true",
        'snapshotter = "overlayfs"',
        'networkMode = "host"',
        f'binary = "{go_tools.home() / "bin" / "runc"}"',
        "[worker.containerd]",
        "enabled = false",
    ]
    if mirror:
        lines += [
            '[registry."docker.io"]',
            f'mirrors = ["{mirror}"]',
            f'[registry."{mirror}"]',
            "http = true",
        ]
    return "\n".join(lines) + "\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host, int(port)
