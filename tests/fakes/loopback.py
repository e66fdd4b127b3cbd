"""A threaded HTTP/1.1 server on the loopback, whose answers are made by a function: the ground for fakes.

An answer is a `Reply`, or a function that is given the raw connection and does to it what a broken network
would. Nothing here sleeps: whoever waits, waits on `Loopback.closing`.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Header names are lower case. `operation` is the GraphQL operation's name, empty for others."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def operation(self) -> str:
        if self.path != "/graphql":
            return ""
        return str(self.json().get("operationName") or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of(cls, payload: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        """`payload` as JSON."""
        return cls(
            status=status,
            headers={"Content-Type": "application/json", **(headers or {})},
            body=json.dumps(payload).encode(),
        )

    def raw(self) -> bytes:
        """The whole answer as it goes over the wire."""
        headers = {"Content-Length": str(len(self.body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


Raw = Callable[[socket.socket], None]
Answer = Callable[[Request], "Reply | Raw"]


class Loopback:
    """Serves `answer` until closed; a context manager. `requests` lists what came, in order."""

    def __init__(self, answer: Answer, *, port: int = 0) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()
        self.port = port
        self.listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def operations(self) -> list[str]:
        return [request.operation or f"{request.method} {request.path}" for request in self.requests]

    def listen(self) -> None:
        """Accept connections, on the same port as before if there was one."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer._connections.add(self.connection)

            def finish(self) -> None:
                outer._connections.discard(self.connection)
                super().finish()

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(
                    method=self.command,
                    path=self.path,
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=self.rfile.read(length),
                )
                outer.requests.append(request)
                answer = outer.answer(request)
                try:
                    if isinstance(answer, Reply):
                        whole = answer.raw()
                        headers_only = whole[: len(whole) - len(answer.body)]
                        self.connection.sendall(headers_only if self.command == "HEAD" else whole)
                    else:
                        self.close_connection = True
                        answer(self.connection)
                except OSError:
                    self.close_connection = True  # the client went away, which is its right

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the base class's names

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: Any) -> None:
                pass  # a client that cuts a connection is what these tests are about

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def refuse(self) -> None:
        """Stop accepting connections and drop those that are open; `listen` ends it."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self._connections):
            drop(connection)

    def close(self) -> None:
        self.closing.set()
        self.refuse()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def drop(connection: socket.socket) -> None:
    """Close both directions, as a peer that dies does."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
