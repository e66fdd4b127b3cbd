"""Builds without an engine that are stopped, run out of time, or meet a registry of another kind."""

from __future__ import annotations

import base64
import hashlib
import tarfile
import threading
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch_agent.assembly import image, layer, transfer
from launch_agent.assembly.entries import Entry
from launch_agent.builders.layers import packages
from launch_agent.builders.layers.builder import LayersBuilder
from launch_agent.clients.http import HttpSettings
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.dockerconfig import DockerConfig
from launch_agent.clients.oci.model import OCI_INDEX, Manifest, Platform
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import BuildError, LaunchError
from launch_agent.registries.generic import GenericRegistry
from launch_agent.spec.build import BuildContext, BuildRecipe
from launch_agent.spec.image import ImageRef
from tests.fakes.certificates import Authority
from tests.fakes.clock import Clock
from tests.fakes.registry import NoRegistry, registry


def native(folder: Path, name: str, machine: str) -> None:
    """A wheel for one kind of machine, which says which."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": f"MACHINE = {machine!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: false\n"
        f"Tag: py3-none-manylinux2014_{machine}\n",
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-manylinux2014_{machine}.whl", "w") as archive:
        for path, content in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, content)


class Bench:
    """A registry at `address` with a base image for each of two platforms, and an index of packages."""

    def __init__(
        self, address: str, folder: Path, environment: dict[str, str], *, plain: bool = False
    ) -> None:
        self.folder, self.cache = folder, folder / "cache"
        index = folder / "index"
        index.mkdir()
        for machine in ("x86_64", "aarch64"):
            native(index, "native", machine)
        self.environment = {
            "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "HOME": str(folder), **environment
        }  # fmt: skip
        self.plain = plain
        self.client = RegistryClient(
            address, settings=HttpSettings(environment=self.environment), plain=plain
        )
        self.place = f"{address}/layers-{uuid.uuid4().hex[:8]}"
        self.base = self._base()

    def _base(self) -> str:
        home = Repository(self.client, ImageRef.parse(f"{self.place}/base").path)
        below = layer.write(
            [Entry(path="etc/base", content=b"base")], self.folder / "base.tar.gz", title="base"
        )
        entries = []
        for name in ("amd64", "arm64"):
            empty = image.Base(name="", platform=Platform(os="linux", architecture=name))
            made = image.assemble(empty, [below], image.Settings(env={"PYTHON_VERSION": "3.12.4"}))
            pushed = transfer.push(made, home, base_from=None)
            entries.append(pushed.to_json() | {"platform": {"os": "linux", "architecture": name}})
        index = Manifest.make({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        home.push_manifest(index, "1")
        return f"{self.place}/base:1"

    def builder(self, platform: str = "linux/amd64", **more: Any) -> LayersBuilder:
        shelf = GenericRegistry(f"{self.place}/jobs", DockerConfig(self.environment), plain=self.plain)
        return LayersBuilder(
            shelf,
            cache=self.cache,
            environment=self.environment,
            platform=platform,
            **{"timeout": 120, **more},
        )

    def context(self, text: str = "native==1.0\n", files: int = 1) -> BuildContext:
        code = self.folder / f"code-{uuid.uuid4().hex}"
        code.mkdir()
        (code / "requirements.txt").write_text(text)
        for number in range(files):
            (code / f"f{number}.py").write_text("x = 1\n")
        recipe = BuildRecipe(
            base=self.base, python="3.12", entry_point=["python", "f0.py"], method="requirements",
            requirements="requirements.txt", files=["requirements.txt"],
        )  # fmt: skip
        return BuildContext(
            directory=code, dockerfile="D", digest=uuid.uuid4().hex, why="", is_generated=True, recipe=recipe
        )

    def build(
        self,
        builder: LayersBuilder,
        context: BuildContext,
        log: Callable[[str], None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> ImageRef:
        ref = ImageRef.parse(f"{builder.repository}:{context.digest}")
        return builder.build(context, ref, log=log, stop=stop or threading.Event())


@pytest.fixture
def bench(docker_registry: str, tmp_path: Path) -> Bench:
    return Bench(docker_registry, tmp_path, {})


@pytest.mark.parametrize("words", ["base image", "Looking in links", "Successfully installed", "pushing"])
def test_a_stop_ends_the_build_wherever_it_is(bench: Bench, words: str) -> None:
    """Nobody finds an image of it, and nothing half made is taken for a layer."""
    stop = threading.Event()
    seen: list[str] = []

    def log(line: str) -> None:
        seen.append(line)
        if words in line:
            stop.set()

    builder, context = bench.builder(), bench.context()
    with pytest.raises(BuildError, match="was stopped") as stopped:
        bench.build(builder, context, log, stop)
    assert any(words in line for line in seen), seen
    assert stopped.value.log
    assert builder.find(ImageRef.parse(f"{builder.repository}:{context.digest}")) is None
    assert not list(bench.cache.glob(".making-*"))
    # The same again, wanted this time, is built.
    assert bench.build(builder, context).digest


def test_a_stop_is_heard_while_a_layer_is_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, added = threading.Event(), list[str]()
    add = layer._add

    def counting(tar: Any, entry: Entry, *rest: Any) -> int:
        added.append(entry.path)
        if entry.path.endswith("/f10.py"):
            stop.set()
        return add(tar, entry, *rest)

    monkeypatch.setattr(layer, "_add", counting)
    with pytest.raises(BuildError, match="was stopped"):
        bench.build(bench.builder(), bench.context(files=500), stop=stop)
    assert len([path for path in added if path.endswith(".py")]) < 20


def test_a_build_that_takes_too_long_ends(bench: Bench) -> None:
    clock = Clock(0.0)

    def log(line: str) -> None:
        if "Looking in links" in line:
            clock.now = 61.0

    with pytest.raises(BuildError, match="longer than 60 s") as late:
        bench.build(bench.builder(timeout=60, clock=clock), bench.context(), log)
    assert "build-timeout" in late.value.hint


@pytest.mark.parametrize(("platform", "machine"), [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")])
def test_packages_are_those_of_the_platform_that_is_built_for(
    bench: Bench, platform: str, machine: str
) -> None:
    found = bench.build(bench.builder(platform), bench.context())
    place = Repository(bench.client, found.path)
    manifest = place.manifest(found.digest)
    assert place.config(manifest)["architecture"] == platform.partition("/")[2]
    (kept,) = bench.cache.iterdir()
    with tarfile.open(kept / "layer.tar.gz") as archive:
        file = archive.extractfile("opt/venv/lib/python3.12/site-packages/native.py")
        assert file is not None
        assert file.read().decode() == f"MACHINE = {machine!r}\n"


def test_each_platform_has_layers_of_its_own_in_the_cache(bench: Bench) -> None:
    context = bench.context()
    digests = {bench.build(bench.builder(f"linux/{name}"), context).digest for name in ("amd64", "arm64")}
    assert len(digests) == 2
    assert len(list(bench.cache.iterdir())) == 2


def test_the_layer_that_was_not_used_for_longest_makes_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.build(bench.builder(), bench.context("native==1.0\n"))
    (first,) = bench.cache.iterdir()
    size = (first / "layer.tar.gz").stat().st_size
    monkeypatch.setattr(packages, "_LARGEST_CACHE", size * 2 + size // 2)
    bench.build(bench.builder(), bench.context("# 2\nnative==1.0\n"))
    (second,) = set(bench.cache.iterdir()) - {first}
    bench.build(bench.builder(), bench.context("native==1.0\n"))  # the first is used again
    bench.build(bench.builder(), bench.context("# 3\nnative==1.0\n"))
    left = set(bench.cache.iterdir())
    assert len(left) == 2
    assert first in left
    assert second not in left
    # One that is larger than all the room is kept for its own build.
    monkeypatch.setattr(packages, "_LARGEST_CACHE", 1)
    assert bench.build(bench.builder(), bench.context("# 4\nnative==1.0\n")).digest
    assert len(list(bench.cache.iterdir())) == 1


@pytest.mark.req("REG-9")
def test_a_registry_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    certificates = Authority(tmp_path / "authority")
    certificate = certificates.sign(tmp_path / "certificate")
    try:
        with registry(tmp_path / "registry", tls=certificate) as address:
            trusting = Bench(address, tmp_path, {"SSL_CERT_FILE": str(certificate.authority)})
            found = trusting.build(trusting.builder(), trusting.context())
            assert Repository(trusting.client, found.path).manifest(found.digest)
            trusting.environment.pop("SSL_CERT_FILE")
            with pytest.raises(LaunchError, match=r"(?i)certificate") as told:
                trusting.build(trusting.builder(), trusting.context())
            assert told.value.hint
    except NoRegistry as reason:
        pytest.skip(str(reason))


@pytest.mark.xdist_group("real-node")
def test_a_registry_without_tls_that_is_not_on_this_machine_has_to_be_named(
    node_registry: str, tmp_path: Path
) -> None:
    bench = Bench(node_registry, tmp_path, {}, plain=True)
    context = bench.context()
    assert bench.build(bench.builder(plain=True), context).digest
    with pytest.raises(LaunchError) as told:
        bench.build(bench.builder(), context)
    assert "registry.plain-http" in told.value.hint
