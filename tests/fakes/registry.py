"""A container registry on a loopback port: Debian's `docker-registry`, with or without a lock."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.certificates import Certificate
from tests.fakes.eventually import eventually
from tests.fakes.token_server import TokenServer

USER, PASSWORD = "alibaba", "open sesame"
# The bcrypt hash of PASSWORD; the registry knows no other kind.
_HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n"


class NoRegistry(Exception):
    """Why there is no registry for the tests."""


@contextmanager
def registry(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    private: bool = False,
    tls: Certificate | None = None,
    tokens: TokenServer | None = None,
) -> Iterator[str]:
    """`host:port` of a registry that keeps its blobs in `folder`. Docker takes a registry on a loopback
    address without TLS. Raises NoRegistry where the program is not installed."""
    program = shutil.which("docker-registry")
    if program is None:
        raise NoRegistry("docker-registry is not installed (`make system`)")
    with socket.socket() as probe:
        probe.bind((host, 0))
        address = f"{host}:{probe.getsockname()[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yml").write_text(_config(folder, address, private, tls, tokens))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        eventually(lambda: _answers(address), within=20, what="the registry answers")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=10)


def _config(
    folder: Path, address: str, private: bool, tls: Certificate | None, tokens: TokenServer | None
) -> str:
    (folder / "htpasswd").write_text(_HTPASSWD)
    auth = f"auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}\n" if private else ""
    if tokens is not None:
        auth = (
            f"auth: {{token: {{realm: '{tokens.url}/token', service: {tokens.service}, "
            f"issuer: {tokens.issuer}, rootcertbundle: {tokens.certificate.authority}}}}}\n"
        )
    files = f", tls: {{certificate: {tls.file}, key: {tls.key_file}}}" if tls else ""
    return (
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/blobs}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'{files}}}\n{auth}"
    )


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False
