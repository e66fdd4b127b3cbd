"""A proxy before a real registry that does to single requests what networks and servers do to them.

    with RegistryFaults(f"http://{address}") as proxy:
        proxy.next(status(503), on="PUT .*/blobs/uploads/")
        proxy.next(cut_upload(after=1000), on="PUT")

Each fault strikes one request whose `METHOD path` matches. The registry makes its addresses from the Host
header, so that what it hands out leads back here.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.fakes.loopback import Raw, Reply, Request, drop


class RegistryFaults(FaultProxy):
    """`FaultProxy` with requests told apart by method and path."""

    def _fault_for(self, request: Request) -> Fault | None:
        name = f"{request.method} {request.path}"
        with self._guard:
            for place, (on, fault) in enumerate(self._faults):
                if re.match(on, name):
                    del self._faults[place]
                    return fault
            return next((fault for on, fault in self._always if re.match(on, name)), None)

    def cut_upload(self, *, after: int) -> Fault:
        """The registry gets the first `after` bytes of the body and loses its client; so do we it."""

        def strike(request: Request, _forward: Callable[[], Reply]) -> Raw:
            target = urlsplit(self.upstream)
            lines = [f"{request.method} {request.path} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in request.headers.items()]
            assert target.hostname is not None
            with socket.create_connection((target.hostname, target.port or 80), timeout=10) as connection:
                connection.sendall("\r\n".join([*lines, "", ""]).encode() + request.body[:after])
            return drop

        return strike

    def count(self, on: str) -> int:
        """How many requests came whose `METHOD path` matches."""
        return sum(bool(re.match(on, f"{each.method} {each.path}")) for each in self.requests)
