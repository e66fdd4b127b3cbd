"""Answers /livez, /readyz and /metrics over HTTP.

Plain standard library on threads of its own, so that it answers while the agent is busy or its backend down.
The number of connections is bounded and each has a time limit: whoever can reach the port can ask, and must
not be able to do more.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from launch_agent.errors import ConfigError
from launch_agent.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
# A probe or a scrape is one short request; what takes longer is not one.
_REQUEST_SECONDS = 5.0
_MOST_CONNECTIONS = 32

Check = Callable[[], tuple[bool, str]]


class HealthServer:
    """`ready` and `alive` say whether the agent is, and why not. Port 0 takes any free one (see `port`)."""

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Metrics,
        *,
        ready: Check,
        alive: Check = lambda: (True, "ok"),
    ) -> None:
        self._address = (host, port)
        self._metrics = metrics
        self._checks = {"/livez": alive, "/readyz": ready}
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before `start`."""
        return int(self._server.server_address[1]) if self._server else 0

    def start(self) -> None:
        """Listen and answer from now on. Raises ConfigError where the address cannot be used."""
        host, port = self._address
        try:
            self._server = _Server(self._address, self.answer)
        except OSError as error:
            raise ConfigError(
                f"health and metrics cannot be served at {host}:{port}: {error.strerror or error}",
                path="metrics.port",
                hint="choose another port, or 0 to serve none",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True
        )
        self._thread.start()
        _log.info("health and metrics are served at %s:%d", host, self.port)

    def stop(self) -> None:
        """Stop listening. Harmless where nothing was started."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        if self._thread is not None:
            self._thread.join(_REQUEST_SECONDS)

    def answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a path."""
        path = path.partition("?")[0]
        if path == "/metrics":
            body, content_type = self._metrics.exposition(accept)
            return 200, content_type, body
        check = self._checks.get(path)
        if check is None:
            return 404, "text/plain; charset=utf-8", b"not found: try /livez, /readyz or /metrics\n"
        good, reason = check()
        return 200 if good else 503, "text/plain; charset=utf-8", f"{reason}\n".encode()


class _Server(ThreadingMixIn, TCPServer):
    """`http.server.HTTPServer` would ask the name service for the host's full name before it listens."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], answer: Callable[[str, str], tuple[int, str, bytes]]
    ) -> None:
        self.answer = answer
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # The whole exchange has a deadline: a client that trickles bytes would keep any timeout per read.
        deadline = threading.Timer(_REQUEST_SECONDS, _abort, [request])
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away is its own affair; anything else is a bug in a check.
        level = logging.DEBUG if isinstance(sys.exception(), OSError) else logging.ERROR
        _log.log(level, "the health request of %s failed", client_address, exc_info=True)


def _abort(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_SECONDS
    server_version = "launch-agent"
    sys_version = ""

    def do_GET(self) -> None:
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def _send(self, *, with_body: bool) -> None:
        status, content_type, body = self.server.answer(self.path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class has
        _log.debug(format, *args)
