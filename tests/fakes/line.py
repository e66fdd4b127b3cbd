"""A line between a client and a server, of which the connections that are open can fall silent.

    with Line("https://127.0.0.1:6443") as line:   # line.url is the way in; TLS passes untouched
        line.freeze()                              # open connections carry nothing more, and are not closed

Connections that are opened afterwards work. So it is where a firewall forgets what it let through.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_PIECE = 65536


class Line:
    def __init__(self, upstream: str) -> None:
        there = urlsplit(upstream)
        self._there = (str(there.hostname), int(there.port or 443))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._frozen: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"{there.scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def freeze(self) -> None:
        with self._lock:
            self._frozen |= self._open

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            found = [self._listener, *self._open]
        for each in found:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._there, timeout=10)
                far.settimeout(None)
                with self._lock:
                    self._open |= {near, far}
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, giver: socket.socket, taker: socket.socket) -> None:
        with suppress(OSError):
            while piece := giver.recv(_PIECE):
                if giver not in self._frozen:
                    taker.sendall(piece)
        with self._lock:
            if giver in self._frozen:
                return
            self._open -= {giver, taker}
        for each in (giver, taker):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
