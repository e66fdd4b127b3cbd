"""How long it takes from changed code to an image in the registry, and what is not done again.

The base image and the packages are tiny and the registry is on this machine: what is measured is the
builder, not the network. docker and buildkit build one Dockerfile: a file with what is needed, a step that
installs it (half a second of sleep and 8 MB), the code. Whether a step ran is read from the builder's log.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from launch_agent.builders import Builder, Parts
from launch_agent.builders.buildkit.daemon import DaemonBuilder
from launch_agent.builders.buildkit.settings import Settings
from launch_agent.builders.docker import create as create_docker
from launch_agent.clients.oci.dockerconfig import DockerConfig
from launch_agent.control.builds import Builds
from launch_agent.images.job.archive import pack
from launch_agent.images.job.tree import Tree
from launch_agent.images.rootfs import image_from_host
from launch_agent.registries.generic import GenericRegistry
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from tests.builders.layers.test_builder import JOB, Site
from tests.fakes.buildkit import Daemon, NoBuildkit, daemon
from tests.fakes.docker_engine import NoEngine, engine
from tests.fakes.registry import NoRegistry, registry

_NAME = "builders: changed code to pushed image"
_AGAIN = "builders: installing steps run for changed code"
_EQUAL = "builders: builds of 20 equal jobs at once"
_ALL = "builders: 20 equal jobs at once, to the last one's image"
_TIMES = 5
_GOAL = 2.0
_JOBS = 20
_MARK = "installs"
_PROGRAMS = ("sh", "sleep", "echo", "head", "cat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A builder, the base image for its Dockerfiles, and a folder for code."""

    builder: Builder
    base: str
    folder: Path

    def context(self, code: str) -> BuildContext:
        install = "echo in''stalls; sleep 0.5; head -c 8000000 /dev/zero > /installed"
        return self.made(
            {
                "Dockerfile": f"FROM {self.base}\nCOPY needs.txt /\nRUN {install}\nCOPY . /job\n",
                "needs.txt": self.folder.name,
                "train.py": code,
            }
        )

    def made(self, files: Mapping[str, str]) -> BuildContext:
        place = self.folder / uuid.uuid4().hex
        place.mkdir()
        for name, text in files.items():
            (place / name).write_text(text)
        entries = Tree(root=place).entries()
        return BuildContext(
            directory=place,
            dockerfile="Dockerfile",
            digest=uuid.uuid4().hex,
            why="",
            pack=lambda: pack(place, entries),
        )

    def build(self, context: BuildContext, log: Callable[[str], None]) -> ImageRef:
        ref = ImageRef.parse(f"{self.builder.repository}:{context.digest}")
        return self.builder.build(context, ref, log=log, stop=threading.Event())


def measure() -> Iterator[Figure]:
    try:
        with tempfile.TemporaryDirectory() as folder, registry(Path(folder, "registry")) as address:
            yield Figure(name=_NAME, subject="layers", value=_layers(address, folder), unit="s", goal=_GOAL)
            try:
                with daemon() as found:
                    yield from _dockerfiles(found, address, Path(folder))
            except NoBuildkit as error:
                yield Figure(
                    name=_NAME, subject="buildkit", value=None, unit="s", goal=_GOAL, note=str(error)
                )
    except NoRegistry as error:
        yield Figure(name=_NAME, subject="layers", value=None, unit="s", goal=_GOAL, note=str(error))


def _layers(address: str, folder: str) -> float:
    """The median of some builds, in seconds."""
    place = Path(folder, "site")
    place.mkdir()
    site = Site(address, place)
    site.build(site.context(JOB), [])
    took = []
    for number in range(_TIMES):
        context = site.context({**JOB, "train.py": f"print({number})\n"})
        began = time.perf_counter()
        site.build(context, [])
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _dockerfiles(found: Daemon, address: str, folder: Path) -> Iterator[Figure]:
    """The builders that read Dockerfiles."""
    shelf = GenericRegistry(f"{address}/bench", DockerConfig({"HOME": str(folder)}))
    environment = {**os.environ, "PATH": f"{found.clients}:{os.environ['PATH']}", "HOME": str(folder)}
    buildkit = DaemonBuilder("bench", shelf, Settings(address=found.address), environment)
    base = _base(Bench(builder=buildkit, base="", folder=_place(folder, "base")))
    yield from _of(Bench(builder=buildkit, base=base, folder=_place(folder, "buildkit")), "buildkit")
    with ExitStack() as stack:
        try:
            host = stack.enter_context(engine()).host
        except NoEngine as error:
            yield Figure(name=_NAME, subject="docker", value=None, unit="s", goal=_GOAL, note=str(error))
            return
        docker = create_docker({"host": host}, Parts(agent="bench", registry=shelf))
        stack.callback(docker.close)
        yield from _of(Bench(builder=docker, base=base, folder=_place(folder, "docker")), "docker")


def _of(bench: Bench, subject: str) -> Iterator[Figure]:
    took, lines = [], list[str]()
    bench.build(bench.context("0"), lines.append)
    if not any(_MARK in line for line in lines):
        raise RuntimeError("the log of a first build does not show its steps")
    lines.clear()
    for number in range(_TIMES):
        context = bench.context(f"print({number})\n")
        began = time.perf_counter()
        bench.build(context, lines.append)
        took.append(time.perf_counter() - began)
    again = sum(_MARK in line for line in lines)
    yield Figure(name=_NAME, subject=subject, value=statistics.median(took), unit="s", goal=_GOAL)
    yield Figure(name=_AGAIN, subject=subject, value=again, unit=f"of {_TIMES}", goal=0)
    number, seconds = _together(bench)
    yield Figure(name=_EQUAL, subject=subject, value=number, unit="builds", goal=1)
    yield Figure(name=_ALL, subject=subject, value=seconds, unit="s")


def _together(bench: Bench) -> tuple[int, float]:
    """How many builds twenty launches of the same new code make, and how long they take."""
    context = bench.context("print('all')\n")
    ref = ImageRef.parse(f"{bench.builder.repository}:{context.digest}")
    begun: list[str] = []
    counted = _Counted(bench.builder, begun)
    builds = Builds(counted)
    began = time.perf_counter()
    with ThreadPoolExecutor(_JOBS) as pool:
        launches = [
            pool.submit(
                builds.image, context, ref, log=_nobody, is_stopped=lambda: False, release=lambda: None
            )
            for _ in range(_JOBS)
        ]
        digests = {each.result().digest for each in launches}
    assert len(digests) == 1
    return len(begun), time.perf_counter() - began


class _Counted:
    """A builder whose builds are counted."""

    def __init__(self, builder: Builder, begun: list[str]) -> None:
        self._builder = builder
        self._begun = begun
        self.repository, self.has_mounts = builder.repository, builder.has_mounts
        self.find, self.verify, self.sweep, self.close = (
            builder.find,
            builder.verify,
            builder.sweep,
            builder.close,
        )

    def build(
        self, context: BuildContext, ref: ImageRef, *, log: Callable[[str], None], stop: threading.Event
    ) -> ImageRef:
        self._begun.append(str(ref))
        return self._builder.build(context, ref, log=log, stop=stop)


def _base(bench: Bench) -> str:
    """An image with a shell, in the registry."""
    context = bench.made({"Dockerfile": "FROM scratch\nADD image.tar /\n"})
    image_from_host(context.directory / "image.tar", _PROGRAMS, python=False)
    found = bench.build(context, _nobody)
    return f"{found.repository}@{found.digest}"


def _place(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def _nobody(_: str) -> None: ...
