"""An HTTP proxy before a real backend that does to single requests what networks and servers do to them.

    with FaultProxy(server.url) as proxy:
        proxy.next(status(429, retry_after="2"), on="popFromRunQueue")
        proxy.next(cut(after=40))

Each fault strikes one request: the next, or the next of the operation named by `on`. Everything else is
handed on. `forwarded` lists the operations that reached the backend, so that a test can tell "the server did
not see it" from "the client did not hear of it".
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.fakes.loopback import Loopback, Raw, Reply, Request, drop

# Given the request and a function that asks the backend; returns what the client gets.
Fault = Callable[[Request, Callable[[], Reply]], "Reply | Raw"]


class FaultProxy(Loopback):
    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.forwarded: list[str] = []
        self._faults: list[tuple[str, Fault]] = []
        self._always: list[tuple[str, Fault]] = []
        self._guard = threading.Lock()
        super().__init__(self._answer)

    def next(self, *faults: Fault, on: str = "") -> None:
        """Strike the coming requests, one fault each."""
        with self._guard:
            self._faults.extend((on, fault) for fault in faults)

    def always(self, fault: Fault, on: str = "") -> None:
        """Strike every request until `heal`."""
        with self._guard:
            self._always.append((on, fault))

    def heal(self) -> None:
        """Forget all faults that have not struck yet."""
        with self._guard:
            self._faults.clear()
            self._always.clear()

    def _answer(self, request: Request) -> Reply | Raw:
        fault = self._fault_for(request)
        forward = lambda: self._forward(request)  # noqa: E731 - a closure, named for the reader
        return fault(request, forward) if fault else forward()

    def _fault_for(self, request: Request) -> Fault | None:
        with self._guard:
            for place, (on, fault) in enumerate(self._faults):
                if on in ("", request.operation):
                    del self._faults[place]
                    return fault
            return next((fault for on, fault in self._always if on in ("", request.operation)), None)

    def _forward(self, request: Request) -> Reply:
        self.forwarded.append(request.operation or f"{request.method} {request.path}")
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=60)
        try:
            headers = {k: v for k, v in request.headers.items() if k not in ("connection", "accept-encoding")}
            connection.request(request.method, request.path, request.body or None, headers)
            answer = connection.getresponse()
            dropped = ("content-length", "transfer-encoding", "connection")
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in dropped}
            return Reply(status=answer.status, headers=kept, body=answer.read())
        finally:
            connection.close()


def status(code: int, *, retry_after: str = "", body: bytes = b"broken") -> Fault:
    """An error of a load balancer: the backend does not see the request."""
    headers = {"Retry-After": retry_after} if retry_after else {}
    return lambda _request, _forward: Reply(status=code, headers=headers, body=body)


def html(code: int = 200) -> Fault:
    """A page of something in between, such as a login wall."""
    page = b"<!doctype html><html><title>Sign in</title><body>Please sign in</body></html>"
    return lambda _request, _forward: Reply(status=code, headers={"Content-Type": "text/html"}, body=page)


def text(body: bytes, code: int = 200) -> Fault:
    """Any body at all, called JSON."""
    return lambda _request, _forward: Reply(
        status=code, headers={"Content-Type": "application/json"}, body=body
    )


def cut(*, after: int = 0, reach_backend: bool = True) -> Fault:
    """Break the connection after so many bytes of the answer; the backend acts on the request or not."""

    def strike(_request: Request, forward: Callable[[], Reply]) -> Raw:
        raw = forward().raw() if reach_backend else b""

        def send(connection: socket.socket) -> None:
            connection.sendall(raw[:after])
            drop(connection)

        return send

    return strike


def stall(until: threading.Event, *, reach_backend: bool = False) -> Fault:
    """Take the request and say nothing until the event is set; then break the connection."""

    def strike(_request: Request, forward: Callable[[], Reply]) -> Raw:
        if reach_backend:
            forward()

        def hold(connection: socket.socket) -> None:
            until.wait(60)
            drop(connection)

        return hold

    return strike


def drip(until: threading.Event, *, every: float = 0.02) -> Fault:
    """Send the headers, then one byte of the body at a time, for as long as the client listens."""

    def strike(_request: Request, _forward: Callable[[], Reply]) -> Raw:
        def send(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
            while not until.wait(every):
                connection.sendall(b" ")

        return send

    return strike


def lost(_request: Request, forward: Callable[[], Reply]) -> Raw:
    """The backend acts, and its answer never arrives."""
    forward()
    return drop
