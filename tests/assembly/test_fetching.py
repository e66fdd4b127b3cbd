"""Packages from an index that answers badly, or not at all: real pip, one clear error each."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from launch_agent.assembly import fetching
from launch_agent.assembly.fetching import Source
from launch_agent.assembly.wheels import Target
from launch_agent.clients.oci.model import Platform
from launch_agent.errors import ImageError
from launch_agent.spec.secret import Secret
from tests.fakes import certificates, image_parts
from tests.fakes.certificates import Certificate
from tests.fakes.loopback import Loopback, Reply, Request

TARGET = Target(python="3.12", platform=Platform(os="linux", architecture="arm64"))
ABSENT = "absent==1.0 --hash=sha256:" + "0" * 64


class Encrypted(Loopback):
    """A server with a certificate."""

    def __init__(self, answer: Callable[[Request], Reply], certificate: Certificate) -> None:
        self._certificate = certificate
        super().__init__(answer)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def listen(self) -> None:
        super().listen()
        assert self._server is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate.file, self._certificate.key_file)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)


def fetch(url: str, folder: Path, line: str = ABSENT, **more: object) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    source = Source(environment=environment, url=url, **more)  # type: ignore[arg-type] # as given
    fetching.fetch([line], TARGET, folder / "cache", source)


def failure(url: str, folder: Path, **more: object) -> ImageError:
    with pytest.raises(ImageError) as told:
        fetch(url, folder, **more)
    assert told.value.hint
    return told.value


def test_an_index_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/simple"
        error = failure(url, tmp_path)
    assert "the index does not answer" in error.message


@pytest.mark.parametrize("status", [401, 403])
def test_an_index_that_denies(tmp_path: Path, status: int) -> None:
    with Loopback(lambda request: Reply.of({}, status=status)) as server:
        error = failure(f"{server.url}/simple", tmp_path, user="ali", password=Secret("4711-sesame"))
    assert f"the index denies it (status {status})" in error.message
    assert "sesame" not in str(error)


def test_an_index_that_is_broken(tmp_path: Path) -> None:
    with Loopback(lambda request: Reply.of({}, status=503)) as server:
        error = failure(f"{server.url}/simple", tmp_path)
    assert "the index does not answer" in error.message


def test_an_index_whose_certificate_is_not_trusted(tmp_path: Path) -> None:
    made = certificates.make(tmp_path / "tls")
    with Encrypted(lambda request: Reply.of({}), made) as server:
        error = failure(f"{server.url}/simple", tmp_path)
    assert "the certificate of the index is not trusted" in error.message


def test_a_private_index_with_its_authority_and_password(tmp_path: Path) -> None:
    package = image_parts.wheel(tmp_path, "speech", {"speech.py": "A = 1\n"})
    (file,) = tmp_path.glob("*.whl")
    asked: list[str] = []

    def answer(request: Request) -> Reply:
        if not request.headers.get("authorization"):
            return Reply.of({}, status=401)
        asked.append(request.path)
        if request.path.endswith(".whl"):
            return Reply(body=file.read_bytes())
        page = f'<!DOCTYPE html><a href="/files/{file.name}">{file.name}</a>'
        return Reply(body=page.encode(), headers={"Content-Type": "text/html"})

    made = certificates.make(tmp_path / "tls")
    with Encrypted(answer, made) as server:
        keys = {"user": "ali", "password": Secret("open: sesame%40/"), "ca": made.authority}
        fetch(f"{server.url}/simple", tmp_path, package.line(), **keys)
    assert asked == ["/simple/speech/", f"/files/{file.name}"]
    fetch("http://127.0.0.1:9/", tmp_path, package.line())  # it is kept now
