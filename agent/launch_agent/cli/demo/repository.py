"""A Git repository of the demo's own, served over HTTPS on the loopback.

Jobs come from https and ssh remotes alone, and the demo makes no exception: Git's own `http-backend` answers
behind a certificate that was made for these few seconds, and that only the demo and its agent trust.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_SECONDS = 30.0
_NAME = "code.git"
_AUTHOR = {
    "GIT_AUTHOR_NAME": "demo-user",
    "GIT_AUTHOR_EMAIL": "demo-user@example.com",
    "GIT_COMMITTER_NAME": "demo-user",
    "GIT_COMMITTER_EMAIL": "demo-user@example.com",
}


class NotPossible(Exception):
    """Why there is no repository on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """`url` is where it is; `authority` the certificate to trust there."""

    url: str
    authority: Path


@contextmanager
def served(folder: Path, files: Mapping[str, str]) -> Iterator[Repository]:
    """A repository whose one commit has these files, for as long as the block runs. Raises NotPossible."""
    for program in ("git", "openssl"):
        if shutil.which(program) is None:
            raise NotPossible(f"{program} is not installed")
    if not Path(_run(["git", "--exec-path"]).strip(), "git-http-backend").exists():
        raise NotPossible("this Git has no http-backend")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _commit(folder, files)
    _run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=demo",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        folder,
    )  # fmt: skip
    server = _Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        url = f"https://127.0.0.1:{server.server_address[1]}/{_NAME}"
        yield Repository(url=url, authority=folder / "cert.pem")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _commit(folder: Path, files: Mapping[str, str]) -> None:
    work = folder / "work"
    work.mkdir(exist_ok=True)
    for name, text in files.items():
        (work / name).write_text(text)
    _run(["git", "init", "--quiet", "--bare", _NAME], folder)
    for command in (["add", "--all"], ["commit", "--quiet", "--message", "Train from here"]):
        _run(["git", f"--git-dir={folder / _NAME}", f"--work-tree={work}", *command], work)


def _run(command: Sequence[str], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - git and openssl, with words of ours
            command,
            cwd=folder,
            env=_environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        raise NotPossible(f"{command[0]} failed: {said[-1] if said else 'without a word'}") from error
    return done.stdout


def _environment() -> dict[str, str]:
    """Without the settings of whoever watches: signed commits, hooks and the like are not for this one."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**own, **_AUTHOR, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(("127.0.0.1", 0), _Backend)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        # The handshake is the request's thread's business: a client that is slow holds up nobody else.
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)


class _Backend(BaseHTTPRequestHandler):
    """What CGI (RFC 3875) asks of a server, as far as `git http-backend` needs it for a fetch."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def log_message(self, *_: Any) -> None:
        """The demo's screen is for jobs."""

    def _answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"],  # noqa: S607 - found on PATH, as everything of Git here
            input=body,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env={
                **_environment(),
                "GIT_PROJECT_ROOT": str(self.server.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        self.send_response(int(headers.pop("Status", "200 OK").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
