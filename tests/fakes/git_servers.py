"""Git over SSH (Debian's sshd) and over HTTPS (`git http-backend` behind TLS), both on the loopback.

The repositories are bare ones below a folder; a test makes them with `Repository`. Keys, certificates and
configuration live in the test's own folder, ports are free ones, and nothing of the machine's is touched.
"""

from __future__ import annotations

import base64
import getpass
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.fakes.eventually import eventually

USER, PASSWORD = "morgiana", "open/ses@me"


class NoServer(Exception):
    """Why there is no server for the tests."""


class Repository:
    """A bare repository at `path`, and a work tree beside it to write commits in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path.with_name(f"{path.name}.work")
        self.work.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True, env=_ENV)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.work,
            env=_ENV,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str], *, branch: str = "main", tag: str = "") -> str:
        """Write files, commit them to a branch and push; returns the commit's id."""
        branches = self.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split()
        if not branches:
            self.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        else:
            self.git("checkout", "-q", *([] if branch in branches else ["-b"]), branch)
        for name, text in files.items():
            target = self.work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")
        if tag:
            self.git("tag", "-a", tag, "-m", tag)
        self.push()
        return self.git("rev-parse", "HEAD")

    def push(self) -> None:
        self.git("push", "-q", "--all", str(self.path))
        self.git("push", "-q", "--tags", str(self.path))

    def configure(self, key: str, value: str) -> None:
        """A setting of the bare repository."""
        subprocess.run(["git", "-C", str(self.path), "config", key, value], check=True, env=_ENV)


_ENV = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.com",
    "GIT_COMMITTER_NAME": "Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.com",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "protocol.file.allow",
    "GIT_CONFIG_VALUE_0": "always",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SshServer:
    """`key` opens it, `other_key` does not; `known_hosts` holds its host key."""

    port: int
    root: Path
    key: Path
    other_key: Path
    known_hosts: Path

    def url(self, name: str) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{self.root}/{name}"


@contextmanager
def ssh_server(folder: Path, root: Path) -> Iterator[SshServer]:
    """An sshd that serves the repositories below `root`. Raises NoServer where it is not installed."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None or shutil.which("ssh-keygen") is None:
        raise NoServer("sshd is not installed (`make system`)")
    folder.mkdir(mode=0o700)
    for name in ("host", "key", "other"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True, timeout=30
        )
    port = _free_port()
    public = (folder / "key.pub").read_text()
    (folder / "authorized_keys").write_text(public)
    host_key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        "PermitUserRC no\nPrintMotd no\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks itself up
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log
        )
    try:
        eventually(lambda: _listens(port), within=30, what="sshd listens")
        yield SshServer(
            port=port,
            root=root,
            key=folder / "key",
            other_key=folder / "other",
            known_hosts=folder / "known_hosts",
        )
    finally:
        process.terminate()
        process.wait(timeout=20)


class HttpsServer(ThreadingHTTPServer):
    """Repositories below `/open/` are for everybody, those below `/private/` for USER with PASSWORD.
    `authority` is the certificate to trust."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, root: Path, certificate: Path, host: str = "127.0.0.1") -> None:
        self.root = root
        self.authority = certificate
        super().__init__((host, 0), _Backend)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key.pem"))
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def url(self, name: str, login: str = "") -> str:
        return f"https://{login}{self.server_address[0]!s}:{self.server_address[1]}/{name}"

    def handle_error(self, *_: Any) -> None:
        pass  # a client that goes away, or does not trust us


class _Backend(BaseHTTPRequestHandler):
    """CGI (RFC 3875) for `git http-backend`."""

    server: HttpsServer
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self._body()
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.path.startswith("/private/") and self.headers.get("Authorization") != f"Basic {login}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="cave"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=False,
            timeout=60,
            env={
                **_ENV,
                "GIT_PROJECT_ROOT": str(self.server.root),
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

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = answer  # noqa: N815 - the base class's names

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def https_server(folder: Path, root: Path, host: str = "127.0.0.1") -> Iterator[HttpsServer]:
    """Raises NoServer where openssl, which makes the certificate, is not installed."""
    if shutil.which("openssl") is None:
        raise NoServer("openssl is not installed")
    folder.mkdir(mode=0o700)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", f"subjectAltName=IP:{host}", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    server = HttpsServer(root, folder / "cert.pem", host)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False
