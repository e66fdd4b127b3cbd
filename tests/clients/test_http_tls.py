"""TLS: whom the client trusts, and that closing it ends a request that waits inside a TLS connection."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from launch_agent.clients.http import HttpClient, HttpSettings, NoAnswer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate by openssl")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return folder / "cert.pem"


class TlsServer(ThreadingHTTPServer):
    """Answers `/`; holds `/hold` until `release`."""

    daemon_threads = True

    def __init__(self, certificate: Path) -> None:
        self.release = threading.Event()
        self.arrived = threading.Event()
        super().__init__(("127.0.0.1", 0), TlsHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key.pem"))
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        pass  # a client that goes away, or does not trust us


class TlsHandler(BaseHTTPRequestHandler):
    server: TlsServer

    def do_GET(self) -> None:
        if self.path == "/hold":
            self.server.arrived.set()
            self.server.release.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(certificate: Path) -> Iterator[TlsServer]:
    made = TlsServer(certificate)
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield made
    made.release.set()
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_private_ca_is_trusted_where_it_is_named(
    server: TlsServer, certificate: Path, variable: str
) -> None:
    client = HttpClient(HttpSettings(environment={variable: str(certificate)}))
    assert client.request("GET", server.url).json() == {}
    client.close()


def test_nobody_else_is_trusted(server: TlsServer) -> None:
    client = HttpClient(HttpSettings())
    with pytest.raises(NoAnswer, match="no trusted connection") as caught:
        client.request("GET", server.url)
    assert not caught.value.sent
    client.close()


def test_close_ends_a_request_inside_tls(server: TlsServer, certificate: Path) -> None:
    client = HttpClient(HttpSettings(environment={"SSL_CERT_FILE": str(certificate)}))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.request, "GET", f"{server.url}/hold")
        assert server.arrived.wait(10)
        client.close()
        with pytest.raises(NoAnswer, match="closed"):
            waiting.result(timeout=5)
