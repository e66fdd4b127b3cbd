"""What a daemon says to our certificate, where `buildctl` could not hear it.

In TLS 1.3 a server judges its client's certificate after the client's handshake is over. A client that has
begun to write by then may meet a broken connection in place of the answer; this one waits and listens.
"""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from launch_agent.builders.buildkit.settings import Tls

_SECONDS = 5.0


def refusal(address: str, tls: Tls) -> str:
    """The fault in OpenSSL's words (`alert certificate required`); empty where there is none to be heard."""
    where = urlsplit(address)
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        # As gRPC's servers demand it; without a word of it some close the connection.
        context.set_alpn_protocols(["h2"])
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key or None)
        with (
            socket.create_connection((where.hostname or "", where.port or 0), timeout=_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=tls.server_name or where.hostname) as secure,
        ):
            secure.recv(1)
    except ssl.SSLError as error:
        return str(error)
    except (OSError, ValueError):
        return ""
    return ""
