"""Stands before a Docker engine's socket, to take the engine away and to stop single requests on their way.

with EngineProxy("unix:///run/docker.sock") as proxy:   # proxy.host is a DOCKER_HOST
    proxy.cut()                       # connections break, and nobody listens
    proxy.mend()
    held = proxy.hold(rb"/start ")    # requests whose bytes match wait; held.is_set() once one does
"""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_PIECE = 65536


class EngineProxy:
    """Copies bytes between clients on a loopback port and the engine at `host` (unix:// or tcp://)."""

    def __init__(self, host: str) -> None:
        self._upstream = host
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._held: tuple[re.Pattern[bytes], threading.Event] | None = None
        self._port = 0
        self.mend()

    @property
    def host(self) -> str:
        return f"tcp://127.0.0.1:{self._port}"

    def mend(self) -> None:
        """Listen, on the same port as before."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(64)
        self._port = int(listener.getsockname()[1])
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Break every connection and refuse new ones. Requests that are held never reach the engine."""
        with self._lock:
            listener, self._listener = self._listener, None
            connections, self._open = self._open, set()
        for connection in (listener, *connections):
            if connection is not None:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()

    def hold(self, pattern: bytes) -> threading.Event:
        """From now on keep back what clients send from the first piece on that matches."""
        reached = threading.Event()
        self._held = (re.compile(pattern), reached)
        return reached

    def let_go(self) -> None:
        """Hold no more requests; those that are held stay lost with their connections."""
        self._held = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                engine = self._connect()
            except OSError:
                client.close()
                continue
            with self._lock:
                alive = self._listener is listener
                if alive:
                    self._open |= {client, engine}
            if not alive:
                client.close()
                engine.close()
                return
            for source, sink in ((client, engine), (engine, client)):
                threading.Thread(
                    target=self._copy, args=(source, sink, source is client), daemon=True
                ).start()

    def _connect(self) -> socket.socket:
        parts = urlsplit(self._upstream)
        if parts.hostname:
            return socket.create_connection((parts.hostname, parts.port or 2375), timeout=10)
        engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            engine.connect(parts.path)
        except OSError:
            engine.close()
            raise
        return engine

    def _copy(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        holding = False
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                held = self._held
                if from_client and held is not None and held[0].search(piece):
                    holding = True
                    held[1].set()
                if not holding:
                    sink.sendall(piece)
        with self._lock:
            self._open -= {source, sink}
        for connection in (source, sink):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
