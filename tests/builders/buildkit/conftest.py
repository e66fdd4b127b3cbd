"""A real BuildKit daemon, a registry, and a base image in it, shared by the session."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from launch_agent.builders.buildkit.daemon import DaemonBuilder
from launch_agent.builders.buildkit.settings import Settings
from launch_agent.images.rootfs import image_from_host
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch
from tests.fakes.buildkit import Daemon, NoBuildkit, daemon

_PROGRAMS = ("sh", "sleep", "echo", "cat", "env", "id", "date", "ls", "mkdir", "install")


class Shelf:
    """A registry as the builder sees one: a place, and what opens it."""

    def __init__(self, address: str, credentials: Credentials | None = None) -> None:
        self.repository = f"{address}/jobs-{uuid.uuid4().hex[:8]}/train"
        self.opens = credentials

    def verify(self) -> None: ...

    def exists(self, ref: ImageRef) -> str:
        return ""

    def credentials(self) -> Credentials | None:
        return self.opens

    def build_pod(self) -> PodPatch:
        return PodPatch()


class Bench:
    """Makes builders that use `daemon`, with a home and a folder for temporary files of their own."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": f"{daemon.clients}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
        }

    def builder(self, shelf: Shelf, *, agent: str = "me", **settings: Any) -> DaemonBuilder:
        made = Settings(**{"address": self.daemon.address, "timeout": 120.0, **settings})
        return DaemonBuilder(agent, shelf, made, self.environment)

    def context(self, files: Mapping[str, str], **fields: Any) -> BuildContext:
        code = self.folder / f"code-{uuid.uuid4().hex}"
        for name, text in files.items():
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            (code / name).write_text(text)
        told = {"directory": code, "dockerfile": "Dockerfile", "digest": uuid.uuid4().hex, "why": "a test's"}
        return BuildContext(**{**told, "text": files.get("Dockerfile", ""), **fields})

    def build(
        self,
        builder: DaemonBuilder,
        context: BuildContext,
        lines: list[str] | None = None,
        stop: threading.Event | None = None,
    ) -> ImageRef:
        ref = ImageRef.parse(f"{builder.repository}:{uuid.uuid4().hex}")
        log = lines.append if lines is not None else _nobody
        return builder.build(context, ref, log=log, stop=stop or threading.Event())


def _nobody(_: str) -> None: ...


@pytest.fixture(scope="session")
def buildkit(docker_registry: str) -> Iterator[Daemon]:
    """A daemon for which the registry that anybody may use is Docker Hub too."""
    try:
        with daemon(mirror=docker_registry) as found:
            yield found
    except NoBuildkit as reason:
        pytest.skip(str(reason))


@pytest.fixture
def bench(buildkit: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    own = tmp_path / "tmp"
    own.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(own))
    return Bench(buildkit, tmp_path)


@pytest.fixture(scope="session")
def base(buildkit: Daemon, docker_registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with sh and a few programs, in the registry that anybody may use."""
    bench = Bench(buildkit, tmp_path_factory.mktemp("base"))
    made = bench.context({"Dockerfile": "FROM scratch\nADD image.tar /\n"})
    image_from_host(made.directory / "image.tar", _PROGRAMS, python=False)
    found = bench.build(bench.builder(Shelf(docker_registry)), made)
    return f"{found.repository}@{found.digest}"
