"""Builds with a real engine, pushed to a real registry."""

from __future__ import annotations

import io
import socket
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from launch_agent.builders import Parts
from launch_agent.builders.docker import create
from launch_agent.builders.docker.builder import DockerBuilder
from launch_agent.errors import BuildError, LaunchError, RegistryDenied
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret
from tests.fakes.docker_engine import TestEngine
from tests.fakes.eventually import eventually
from tests.fakes.registry import PASSWORD, USER

pytestmark = pytest.mark.docker


class Shelf:
    """A registry as the builder sees one: a place, and what opens it."""

    def __init__(self, address: str, credentials: Credentials | None = None) -> None:
        self.repository = f"{address}/jobs-{uuid.uuid4().hex[:8]}/train"
        self._credentials = credentials

    def verify(self) -> None: ...

    def exists(self, ref: ImageRef) -> str:
        return ""

    def credentials(self) -> Credentials | None:
        return self._credentials

    def build_pod(self) -> PodPatch:
        return PodPatch()


@pytest.fixture
def make(docker_engine: TestEngine) -> Iterator[Callable[..., DockerBuilder]]:
    made: list[DockerBuilder] = []

    def builder(registry: Shelf | None = None, **options: Any) -> DockerBuilder:
        found = create({"host": docker_engine.host, **options}, Parts(agent="me", registry=registry))
        assert isinstance(found, DockerBuilder)
        made.append(found)
        return found

    yield builder
    for each in made:
        each.close()


def context(files: Mapping[str, str], **fields: Any) -> BuildContext:
    def pack() -> Iterator[bytes]:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, text in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
        yield packed.getvalue()

    return BuildContext(
        **{
            "directory": Path(),
            "dockerfile": "Dockerfile",
            "digest": uuid.uuid4().hex,
            "why": "a test's",
            "pack": pack,
            **fields,
        }
    )


def ref_for(builder: DockerBuilder) -> ImageRef:
    return ImageRef.parse(f"{builder.repository}:{uuid.uuid4().hex}")


def build(builder: DockerBuilder, made: BuildContext, lines: list[str], stop: threading.Event) -> ImageRef:
    return builder.build(made, ref_for(builder), log=lines.append, stop=stop)


def test_an_image_is_built_and_kept_in_the_engine_without_a_registry(
    make: Callable[..., DockerBuilder], docker_engine: TestEngine, tiny_image: str
) -> None:
    builder = make()
    builder.verify()
    lines: list[str] = []
    text = (
        f'FROM {tiny_image}\nARG WHO\nCOPY code.txt /\nRUN echo hello $WHO\nENTRYPOINT ["cat", "/code.txt"]\n'
    )
    made = context({"Dockerfile": text, "code.txt": "42\n"}, build_args={"WHO": "world"}, labels={"a": "b"})
    image = build(builder, made, lines, threading.Event())
    try:
        assert not image.digest
        found = docker_engine.client.inspect_image(str(image))
        assert found["Config"]["Entrypoint"] == ["cat", "/code.txt"]
        assert found["Config"]["Labels"]["a"] == "b"
        assert "hello world" in lines
        assert builder.find(image) == image
    finally:
        docker_engine.client.remove_image(str(image), force=True)
    assert builder.find(image) is None


@pytest.mark.req("IMG-2", "REG-11", "DKR-1")
def test_an_image_is_pushed_to_a_registry_that_wants_a_password(
    make: Callable[..., DockerBuilder], private_registry: str, tiny_image: str
) -> None:
    credentials = Credentials(host=private_registry, username=USER, password=Secret(PASSWORD))
    builder = make(Shelf(private_registry, credentials))
    lines: list[str] = []
    image = build(
        builder, context({"Dockerfile": f"FROM {tiny_image}\nRUN echo one\n"}), lines, threading.Event()
    )
    assert image.digest.startswith("sha256:")
    assert image.repository == builder.repository
    assert PASSWORD not in "\n".join(lines)


def test_a_push_without_the_password_is_denied(
    make: Callable[..., DockerBuilder], private_registry: str, tiny_image: str
) -> None:
    builder = make(Shelf(private_registry))
    with pytest.raises(RegistryDenied, match="push"):
        build(builder, context({"Dockerfile": f"FROM {tiny_image}\nRUN echo two\n"}), [], threading.Event())


def test_a_failed_build_tells_the_end_of_its_log(make: Callable[..., DockerBuilder], tiny_image: str) -> None:
    made = context({"Dockerfile": f"FROM {tiny_image}\nRUN echo out of cheese; exit 3\n"})
    with pytest.raises(BuildError, match="non-zero code: 3") as failed:
        build(make(), made, [], threading.Event())
    assert "out of cheese" in failed.value.log
    assert failed.value.hint


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"Dockerfile": "FRUM x\n"}, "unknown instruction"),
        ({"other": ""}, "Dockerfile"),
        ({"Dockerfile": "FROM scratch\nCOPY absent /\n"}, "absent"),
    ],
)
def test_a_bad_context_is_one_clear_error(
    make: Callable[..., DockerBuilder], files: Mapping[str, str], said: str
) -> None:
    with pytest.raises(BuildError, match=said):
        build(make(), context(files), [], threading.Event())


def test_a_build_is_stopped_and_leaves_no_container(
    make: Callable[..., DockerBuilder], docker_engine: TestEngine, tiny_image: str
) -> None:
    word = uuid.uuid4().hex
    stop = threading.Event()
    lines: list[str] = []

    def follow(text: str) -> None:
        lines.append(text)
        if text.startswith("began"):
            stop.set()

    made = context({"Dockerfile": f"FROM {tiny_image}\nRUN echo began; sleep 300 # {word}\n"})
    builder = make()
    since = time.monotonic()
    with pytest.raises(BuildError, match="stopped") as stopped:
        builder.build(made, ref_for(builder), log=follow, stop=stop)
    assert time.monotonic() - since < 60
    assert "began" in stopped.value.log

    def is_gone() -> bool:
        running = docker_engine.client.containers(all=True)
        return not any(word in str(container["Command"]) for container in running)

    eventually(is_gone, within=30, every=0.2, what="the build's container is gone")


def test_a_build_that_takes_too_long_ends(make: Callable[..., DockerBuilder], tiny_image: str) -> None:
    made = context({"Dockerfile": f"FROM {tiny_image}\nRUN sleep 300\n"})
    with pytest.raises(BuildError, match="longer than 2 s"):
        build(make(**{"build-timeout": 2}), made, [], threading.Event())


def test_an_engine_that_is_away_may_be_asked_again(tmp_path: Path) -> None:
    builder = create({"host": f"unix://{tmp_path}/absent.sock"}, Parts(agent="me"))
    with pytest.raises(LaunchError) as failed:
        builder.verify()
    assert failed.value.retryable
    with pytest.raises(BuildError) as refused:
        builder.build(
            context({"Dockerfile": "FROM scratch\n"}),
            ImageRef.parse("x:y"),
            log=lambda _: None,
            stop=threading.Event(),
        )
    assert refused.value.retryable


def test_the_steps_of_a_build_have_the_agents_proxy_and_its_image_has_not(
    make: Callable[..., DockerBuilder],
    docker_engine: TestEngine,
    tiny_image: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:swordfish@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "registry.example")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")  # which is not there in a build
    builder = make()
    lines: list[str] = []
    step = 'RUN echo "https=$https_proxy no=$NO_PROXY http=$http_proxy"'
    image = build(builder, context({"Dockerfile": f"FROM {tiny_image}\n{step}\n"}), lines, threading.Event())
    try:
        assert "https=http://***@proxy.example:3128 no=registry.example http=" in lines
        client: Any = docker_engine.client
        kept = f"{client.history(str(image))}{client.inspect_image(str(image))}"
        assert "swordfish" not in kept
        assert "proxy.example" not in kept
    finally:
        docker_engine.client.remove_image(str(image), force=True)


def test_a_push_to_a_registry_that_falls_silent_is_stopped(
    make: Callable[..., DockerBuilder], docker_engine: TestEngine, tiny_image: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        reached = threading.Event()
        held: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    held.append(mute.accept()[0])
                    reached.set()

        threading.Thread(target=accept, daemon=True).start()
        builder = make(Shelf(f"127.0.0.1:{mute.getsockname()[1]}"))
        stop = threading.Event()
        ref = ref_for(builder)
        made = context({"Dockerfile": f"FROM {tiny_image}\nRUN echo three\n"})

        def stop_when_reached() -> None:
            assert reached.wait(60)
            stop.set()

        threading.Thread(target=stop_when_reached, daemon=True).start()
        try:
            with pytest.raises(BuildError, match="was stopped"):
                builder.build(made, ref, log=lambda _: None, stop=stop)
            assert reached.is_set()
        finally:
            docker_engine.client.remove_image(str(ref), force=True)
            for each in held:
                each.close()


def test_what_a_build_prints_is_told_without_credentials(
    make: Callable[..., DockerBuilder], tiny_image: str
) -> None:
    lines: list[str] = []
    text = f"FROM {tiny_image}\nRUN echo https://me:hush-hush@index.example/simple; exit 3\n"
    with pytest.raises(BuildError) as failed:
        build(make(), context({"Dockerfile": text}), lines, threading.Event())
    assert any("https://***@index.example/simple" in line for line in lines)
    assert "hush-hush" not in "\n".join([*lines, failed.value.log, str(failed.value)])
