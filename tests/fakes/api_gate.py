"""Stands before a Kubernetes API server, speaks plain HTTP to its clients, and is what networks are to them.

    with ApiGate(cluster.kube.url, tls) as gate:   # gate.url is the way in for whom `tls` vouches
        gate.freeze()                          # nothing passes any more, and nothing is closed
        gate.cut()                             # connections break; new ones are taken
        gate.answer(rb"GET /api.*watch", refusal(410, "Expired"))

What passes is not looked at but for the first bytes of a request. `requests` are the first lines of those
that came, answered here or not.
"""

from __future__ import annotations

import json
import re
import select
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_PIECE = 65536
_REQUEST = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) \S+ HTTP/1\.1\r\n")


def reply(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole answer, after which the connection ends."""
    sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"{name}: {value}" for name, value in {**sent, **(headers or {})}.items()]
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode() + body


def refusal(status: int, reason: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> bytes:
    """An answer with a `Status`, as the API server refuses."""
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": f"refused: {reason}"}
    return reply(status, json.dumps({**said, "reason": reason, "code": status, **more}).encode(), headers)


class ApiGate:
    """Opens a TLS connection of its own for each connection that it takes."""

    def __init__(self, upstream: str, tls: ssl.SSLContext) -> None:
        self.requests: list[str] = []
        self._upstream = urlsplit(upstream)
        self._tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._answers: list[tuple[re.Pattern[bytes], bytes | None, bool]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def answer(self, pattern: bytes, reply: bytes | None, *, times: int = 1) -> None:
        """Answer the next requests whose first line matches, and break them off where `reply` is None. With
        `times` 0 all of them until `heal`."""
        rule = (re.compile(pattern), reply, times == 0)
        with self._lock:
            self._answers += [rule] * max(1, times)

    def heal(self) -> None:
        """Pass on everything from now on."""
        with self._lock:
            self._answers.clear()
        self._flowing.set()

    def freeze(self) -> None:
        self._flowing.clear()

    def cut(self) -> None:
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            _shut(connection)

    def close(self) -> None:
        _shut(self._listener)
        self._listener.close()
        self._flowing.set()
        self.cut()

    def count(self, pattern: str) -> int:
        """How many of the requests match."""
        return sum(1 for each in list(self.requests) if re.search(pattern, each))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection, both ways in one thread: TLS is not to be read and written by two at once."""
        server: ssl.SSLSocket | None = None
        self._add(client)
        try:
            while True:
                ends = [client] if server is None else [client, server]
                if server is None or not server.pending():
                    select.select(ends, [], [])
                if server is not None and not self._return(server, client):
                    return
                if not select.select([client], [], [], 0)[0]:
                    continue
                piece = client.recv(_PIECE)
                if not piece:
                    return
                struck, answered = self._struck(piece)
                if struck:
                    client.sendall(answered or b"")
                    return
                self._flowing.wait(60)
                server = server or self._connect()
                server.settimeout(30)
                server.sendall(piece)
        except (OSError, ValueError):
            return  # cut, by us or by one of the ends
        finally:
            for each in (client, server):
                if each is not None:
                    self._drop(each)

    def _return(self, server: ssl.SSLSocket, client: socket.socket) -> bool:
        """Pass on what the server has said; False where it ended the connection."""
        server.settimeout(0)
        try:
            piece = server.recv(_PIECE)
        except (ssl.SSLWantReadError, BlockingIOError):
            return True
        self._flowing.wait(60)
        client.sendall(piece)
        return bool(piece)

    def _connect(self) -> ssl.SSLSocket:
        host, port = str(self._upstream.hostname), self._upstream.port or 443
        plain = socket.create_connection((host, port), timeout=30)
        server = self._tls.wrap_socket(plain, server_hostname=host)
        self._add(server)
        return server

    def _struck(self, piece: bytes) -> tuple[bool, bytes | None]:
        head = _REQUEST.match(piece)
        if head is None:
            return False, None
        line = head.group().strip()
        with self._lock:
            self.requests.append(line.decode())
            for place, (pattern, answered, for_ever) in enumerate(self._answers):
                if pattern.search(line):
                    if not for_ever:
                        del self._answers[place]
                    return True, answered
        return False, None

    def _add(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def _drop(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)
        _shut(connection)
        connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        # The plain method, for TLS too: SSLSocket.shutdown takes the TLS object away under a reader.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
