"""A proxy before a real API server that does to single requests what networks and servers do to them.

    with KubeProxy(cluster.kube) as proxy:
        proxy.strike = lambda call: Fault.LOST if call.method == "POST" else None

It speaks plain HTTP to its client and is an administrator to the server. Watches are handed on as they come.
`calls` are all requests that came, in their order. With `echo` each event of a watch comes so many times, as
if its object had been changed as often; `echoed` are how many there were. `silence()` stops handing on
anything, and closes nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.fakes.kube import Kube

_SECONDS = 60.0
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that came. `number` counts from 1, over all requests."""

    method: str
    path: str
    number: int

    @property
    def writes(self) -> bool:
        """Whether it changes the cluster, were it carried out; reviews and dry runs do not."""
        review = "/authorization.k8s.io/" in self.path or "dryRun=" in self.path
        return self.method in _WRITES and not review

    @property
    def is_watch(self) -> bool:
        return "watch=true" in self.path


class Fault(Enum):
    """What happens to a request in place of an answer."""

    UNSEEN = "the server never sees it, and the connection breaks"
    LOST = "the server acts, and its answer is lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the server says in place of acting."""

    status: int
    reason: str = ""
    message: str = "refused by the test"
    retry_after: str = ""


class KubeProxy:
    """A proxy at `url`. `strike` is asked for each request what happens to it; None hands it on."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._tls = ssl.create_default_context(cafile=str(kube.authority))
        if kube.certificate:
            self._tls.load_cert_chain(*map(str, kube.certificate))
        self.strike: Callable[[Call], Fault | Refusal | None] = lambda call: None
        self.calls: list[Call] = []
        self.echo = 1
        self.echoed = 0
        self._guard = threading.Lock()
        self._speaks = threading.Event()
        self._speaks.set()
        self._open: set[socket.socket] = set()
        self._ended = False
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._speaks.set()
        self.cut()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def writes(self) -> list[Call]:
        return [call for call in self.calls if call.writes]

    def silence(self) -> None:
        """Hand on nothing more, in either direction, of all connections old and new."""
        self._speaks.clear()

    def speak(self) -> None:
        self._speaks.set()

    def cut(self) -> None:
        """Break all connections."""
        with self._guard:
            found = list(self._open)
        for each in found:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def note(self, method: str, path: str) -> Call:
        with self._guard:
            call = Call(method=method, path=path, number=len(self.calls) + 1)
            self.calls.append(call)
        return call

    @contextlib.contextmanager
    def held(self, connection: socket.socket) -> Any:
        with self._guard:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._guard:
                self._open.discard(connection)

    def await_speech(self) -> bool:
        """Wait while it is silent; False once the proxy is at its end."""
        self._speaks.wait(_SECONDS)
        return not self._ended

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            urlsplit(self._kube.url).netloc, context=self._tls, timeout=_SECONDS
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: KubeProxy

    def handle(self) -> None:
        with self.owner.held(self.connection), contextlib.suppress(OSError):
            super().handle()

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        call = self.owner.note(self.command, self.path)
        fault = self.owner.strike(call)
        if not self.owner.await_speech():
            self.close_connection = True
        elif isinstance(fault, Refusal):
            self._refuse(fault)
        elif fault is Fault.UNSEEN:
            self._drop()
        else:
            self._forward(body, lost=fault is Fault.LOST)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class's names

    def log_message(self, *_args: object) -> None:
        """Nothing: pytest shows what matters."""

    def _forward(self, body: bytes | None, *, lost: bool) -> None:
        server = self.owner.connect()
        headers = {
            k: v
            for k, v in self.headers.items()
            if k.lower() not in ("connection", "host", "accept-encoding")
        }
        try:
            server.request(self.command, self.path, body, headers)
            with self.owner.held(server.sock):
                answer = server.getresponse()
                if lost:
                    answer.read()
                    self._drop()
                else:
                    is_watch = "watch=true" in self.path and answer.status == HTTPStatus.OK
                    self._relay(answer, echoes=is_watch and self.owner.echo > 1)
        except (OSError, http.client.HTTPException):
            self._drop()
        finally:
            server.close()

    def _relay(self, answer: http.client.HTTPResponse, *, echoes: bool) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece := answer.readline() if echoes else answer.read1(65536):
            if not self.owner.await_speech():
                self._drop()
                return
            piece = b"".join(self._echo(piece)) if echoes else piece
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _echo(self, line: bytes) -> Iterator[bytes]:
        """The event and, before it, others of versions that are just older."""
        event = json.loads(line)
        if event["type"] in ("ADDED", "MODIFIED"):
            meta = event["object"]["metadata"]
            version = int(meta["resourceVersion"])
            for older in range(min(self.owner.echo, version) - 1, 0, -1):
                meta["resourceVersion"] = str(version - older)
                self.owner.echoed += 1
                yield json.dumps(event).encode() + b"\n"
        yield line

    def _refuse(self, refusal: Refusal) -> None:
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": refusal.status,
            "reason": refusal.reason,
            "message": refusal.message,
        }
        content = json.dumps(status).encode()
        self.send_response_only(refusal.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if refusal.retry_after:
            self.send_header("Retry-After", refusal.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def _drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
