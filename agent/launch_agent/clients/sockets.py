"""Every connection that a client has open, so that it can be cut while another thread waits on it.

urllib3 has no way to end a request that waits for its first byte: `PoolManager.clear()` forgets connections
in use, and `HTTPResponse.shutdown()` needs a response. Its pools do let us choose the connection class, and
that class tells us of each socket.
"""

from __future__ import annotations

import socket
import threading
import weakref
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class Sockets:
    """Hands out pool classes (`PoolManager.pool_classes_by_scheme`) whose connections it can cut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
        self._cut = False
        keep = self._keep

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                keep(self)

        class Encrypted(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                keep(self)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class EncryptedPool(HTTPSConnectionPool):
            ConnectionCls = Encrypted

        self.pool_classes: dict[str, Any] = {"http": PlainPool, "https": EncryptedPool}

    def shut_down(self) -> None:
        """Cut every connection, and each one that is made from now on."""
        with self._lock:
            self._cut = True
            connections = list(self._open)
        for connection in connections:
            _shut_down(connection)

    def _keep(self, connection: HTTPConnection) -> None:
        with self._lock:
            self._open.add(connection)
            cut = self._cut
        if cut:
            _shut_down(connection)


def _shut_down(connection: HTTPConnection) -> None:
    """Wake whoever reads from the connection; closing the file descriptor stays their part."""
    sock = connection.sock
    if not isinstance(sock, socket.socket):
        return  # not connected, or TLS inside a TLS proxy, which ends with its read timeout
    try:
        # The plain method, for TLS too: SSLSocket.shutdown takes the TLS object away under the reader.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # no longer connected: what we want
