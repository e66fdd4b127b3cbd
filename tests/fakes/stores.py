"""Stores of clouds on loopback ports: fake-gcs-server and Azurite, from `python -m tools.emulators`."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.eventually import eventually
from tools import emulators

# Azurite's own, printed in its documents.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class NoStore(Exception):
    """Why there is no store for the tests."""


@contextmanager
def gcs(folder: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """The URL of a server that takes any credentials."""
    program = emulators.gcs_server()
    if not program.exists():
        raise NoStore("fake-gcs-server is not there (`make go-tools`)")
    port = _free_port(host)
    url = f"http://{host}:{port}"
    command = [
        str(program), "-scheme", "http", "-host", host, "-port", str(port), "-backend", "memory",
        "-external-url", url, "-public-host", f"{host}:{port}", "-log-level", "error",
    ]  # fmt: skip
    with _running(command, folder, port, host):
        yield url


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """The URL of the account AZURE_ACCOUNT, which AZURE_KEY opens."""
    node, script = shutil.which("node"), emulators.azurite()
    if node is None or not script.exists():
        raise NoStore("Azurite or node is not there (`make go-tools`)")
    port = _free_port()
    command = [
        node, str(script), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder),
        "--skipApiVersionCheck", "--disableTelemetry", "--silent",
    ]  # fmt: skip
    with _running(command, folder, port):
        yield f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"


@contextmanager
def _running(command: Sequence[str], folder: Path, port: int, host: str = "127.0.0.1") -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually(lambda: _listens(host, port), within=60, what=f"{command[0]} listens")
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def _free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
