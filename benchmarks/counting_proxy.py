"""A reverse proxy that counts what a client asks of a server, by operation, and can delay requests.

Both agents are measured with it from outside, so that neither has to be trusted with counting itself.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

# The first field of a document's selection names what it does, whatever the operation is called.
_ROOT = re.compile(r"\{\s*(?:\w+\s*:\s*)?(\w+)")
# Headers that belong to one connection and are not passed on (RFC 9110, 7.6.1); lengths are set anew.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length", "host"})
_TIMEOUT = 90.0  # seconds; above the longest long poll


class CountingProxy:
    """What was counted. `latency` (seconds) is waited before each request is passed on."""

    def __init__(self, target: str, latency: float) -> None:
        parts = urllib.parse.urlsplit(target)
        self.host, self.port = str(parts.hostname), parts.port or 80
        self.latency = latency
        self.url = ""
        self._counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._under_way = 0

    def counts(self) -> dict[str, int]:
        """Requests by root field of their GraphQL document, or by method and first path segment."""
        with self._lock:
            return dict(self._counts)

    def total(self) -> int:
        return sum(self.counts().values())

    def reset(self) -> None:
        with self._lock:
            self._counts.clear()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no request is under way, for at most `timeout` seconds. A client that goes away leaves
        its long poll behind: the server still holds it, and would hand the next item to nobody."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._under_way, timeout)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """A request is under way for as long as the block runs."""
        with self._idle:
            self._under_way += 1
        try:
            yield
        finally:
            with self._idle:
                self._under_way -= 1
                self._idle.notify_all()

    def count(self, method: str, path: str, body: bytes) -> None:
        with self._lock:
            self._counts[_name(method, path, body)] += 1


@contextmanager
def counting_proxy(target: str, *, latency: float = 0.0) -> Iterator[CountingProxy]:
    """Serve on a free port of the loopback in front of `target` (`http://host:port`) until the block ends."""
    proxy = CountingProxy(target, latency)

    class Handler(_Handler):
        counter = proxy

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, name="counting-proxy", daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in two pieces; held back, the second waits 40 ms for the client's acknowledgement.
    disable_nagle_algorithm = True
    counter: ClassVar[CountingProxy]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: a benchmark prints its figures alone."""

    def do_GET(self) -> None:
        # An agent or server that ends leaves half a conversation: nothing to measure, nothing to say.
        with contextlib.suppress(ConnectionError):
            self._pass_on()

    do_POST = do_PUT = do_GET  # noqa: N815 - the base class names them so

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.counter.count(self.command, self.path, body)
        if self.counter.latency:
            time.sleep(self.counter.latency)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        connection = http.client.HTTPConnection(self.counter.host, self.counter.port, timeout=_TIMEOUT)
        with self.counter.passing(), contextlib.closing(connection):
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _name(method: str, path: str, body: bytes) -> str:
    plain = urllib.parse.urlsplit(path).path
    if plain != "/graphql":
        return f"{method} /{plain.strip('/').partition('/')[0]}"
    try:
        query = str(json.loads(body)["query"])
    except (ValueError, KeyError, TypeError):
        return "graphql"
    found = _ROOT.search(query)
    return found.group(1) if found else "graphql"
