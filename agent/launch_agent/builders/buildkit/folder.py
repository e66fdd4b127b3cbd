"""A private folder for one build: credentials as `buildctl` reads them, and the digest that it writes.

`buildctl` knows a Docker config and no other way to be given credentials that is not seen by others. Those
of a cloud's registry end after an hour or less, and a build may be longer: they are told by a credential
helper, which is asked again and again and reads a file that is renewed here.

A lock that dies with its process tells the folder of a build under way from one that a crash left.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from launch_agent.clients.oci import dockerconfig
from launch_agent.errors import BuildError
from launch_agent.spec.identity import agent_key
from launch_agent.spec.model import Credentials

_PREFIX = "launch-agent-buildkit-"
_LOCK = "lock"
_NAME = "launch-agent"
_HELPER = f"""\
#!{sys.executable} -IS
import pathlib, sys
sys.stdin.read()
sys.stdout.write(pathlib.Path(__file__).with_name("credentials.json").read_text())
"""


class Folder:
    """The folder at `path`. `fetch` brings what opens the registry `host`, kept while it is good."""

    def __init__(self, path: Path, host: str, fetch: Callable[[], Credentials | None]) -> None:
        self._path = path
        self._host = host
        self._fetch = fetch
        self._told: Credentials | None = None

    @property
    def metadata(self) -> Path:
        return self._path / "metadata.json"

    def environment(self, own: Mapping[str, str]) -> dict[str, str]:
        """The variables of the program: the agent's `own`, and where its credentials are."""
        path = f"{self._path}{os.pathsep}{own.get('PATH', os.defpath)}"
        return {**own, "DOCKER_CONFIG": str(self._path), "PATH": path, "TMPDIR": str(self._path)}

    def prepare(self, own: Mapping[str, str]) -> None:
        """Write the credentials: those of the agent's own Docker config, for base images, and above them
        the registry's."""
        credentials = self._fetch()
        renewed = credentials is not None and credentials.expires is not None
        document = dockerconfig.document_with(own, self._host, credentials, helper=_NAME if renewed else "")
        self._write("config.json", document.reveal())
        if renewed:
            self._write(f"docker-credential-{_NAME}", _HELPER, mode=0o700)
            self._tell(credentials)

    def renew(self) -> None:
        """Tell the helper of newer credentials, where they have changed."""
        if self._told is not None and (found := self._fetch()) is not None and found != self._told:
            self._tell(found)

    def digest(self, key: str) -> str:
        """What the finished build wrote under a key; empty where it wrote nothing."""
        try:
            document = json.loads(self.metadata.read_bytes())
        except (OSError, ValueError):
            return ""
        return str(document.get(key, "")) if isinstance(document, dict) else ""

    def _tell(self, credentials: Credentials | None) -> None:
        self._told = credentials
        if credentials is not None:
            self._write("credentials.json", dockerconfig.helper_answer(credentials).reveal())

    def _write(self, name: str, text: str, mode: int = 0o600) -> None:
        """Whole or not at all: a helper may be reading."""
        part = self._path / f"{name}.part"
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as stream:
            stream.write(text)
        part.replace(self._path / name)


@contextmanager
def private(agent: str, host: str, fetch: Callable[[], Credentials | None]) -> Iterator[Folder]:
    """A folder that nobody else can read, and that is gone afterwards."""
    try:
        path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{agent_key(agent)}-"))
    except OSError as error:
        raise BuildError(f"no temporary folder can be made: {error}", hint="make room in TMPDIR") from error
    try:
        with (path / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Folder(path, host, fetch)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sweep(agent: str) -> int:
    """Remove the folders of builds whose process is gone; how many."""
    removed = 0
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}{agent_key(agent)}-*"):
        found = path.lstat()
        # The folder for temporary files is everybody's: what is not ours is left alone.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or _is_held(path):
            continue
        shutil.rmtree(path, ignore_errors=True)
        removed += 1
    return removed


def _is_held(path: Path) -> bool:
    try:
        with (path / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
