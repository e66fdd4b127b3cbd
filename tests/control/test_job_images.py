"""From a job on a real server to an image in a real engine: fetched, planned, built, found again."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch_agent.builders import Parts
from launch_agent.builders.docker import create
from launch_agent.clients.docker_engine import NotFound
from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.control.builder_choice import BuilderChoice
from launch_agent.control.job_images import BuildLog, JobImages
from launch_agent.control.patience import Stopped
from launch_agent.errors import BuildError, Refused, SourceNotFound
from launch_agent.images.job import plan
from launch_agent.registries.generic import create as registry_at
from launch_agent.sources import artifact
from launch_agent.sources.artifact import Backend
from launch_agent.sources.git.access import Access
from launch_agent.spec.model import RunIdentity, RunSpec
from launch_agent.spec.secret import Secret
from tests.fakes.docker_engine import TestEngine
from tests.fakes.own_artifacts import put_artifact, put_job
from tests.fakes.own_server import KEY, OwnServer

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path_factory.mktemp("server"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def http() -> Iterator[HttpClient]:
    client = HttpClient(HttpSettings())
    yield client
    client.close()


class Bench:
    """The images of one agent. `built` counts the builds that the engine was asked for."""

    def __init__(
        self, server: OwnServer, http: HttpClient, engine: TestEngine, folder: Path, registry: str = ""
    ) -> None:
        self.server = server
        self.http = http
        self.folder = folder / "builds"
        self.registry = registry_at(registry, None, {}) if registry else None
        self.builder = create({"host": engine.host}, Parts(agent="me", registry=self.registry))
        self.built = 0
        build = self.builder.build

        def counted(*arguments: Any, **named: Any) -> Any:
            self.built += 1
            return build(*arguments, **named)

        self.builder.build = counted  # type: ignore[method-assign]  # the real one, counted
        self.images = JobImages(
            choice=BuilderChoice(type="docker", why="a test"),
            builder=self.builder,
            registry=self.registry,
            backend=Backend(server.server.url, Secret(KEY), http),
            access=Access(),
            folder=self.folder,
        )

    def job(self, files: Mapping[str, str], name: str = "") -> str:
        """A new version of a code job with a Dockerfile of its own."""
        name = name or f"train-{uuid.uuid4().hex[:8]}"
        code = {path: text.encode() for path, text in files.items()}
        made = put_artifact(self.server, f"jobs/code-{name}", code)
        source = {
            "artifact": f"wandb-artifact://_id/{made}",
            "entrypoint": ["cat", "word"],
            "notebook": False,
        }
        put_job(self.server, f"jobs/{name}", {"source_type": "artifact", "source": source, "runtime": "3.11"})
        return f"team/jobs/{name}:latest"

    def image(self, job: str, is_stopped: Callable[[], bool] = lambda: False) -> str:
        return self.images.of(spec(job), identity(), is_stopped=is_stopped).reference

    def left(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.exists() else []


def spec(job: str) -> RunSpec:
    return RunSpec(entity="team", project="jobs", resource="local-container", job=job)


def identity() -> RunIdentity:
    item = uuid.uuid4().hex
    return RunIdentity(
        agent="me",
        item_id=item,
        queue="q",
        queue_entity="team",
        run_id=item[:8],
        entity="team",
        project="jobs",
    )


@pytest.fixture
def bench(
    server: OwnServer, http: HttpClient, docker_engine: TestEngine, docker_registry: str, tmp_path: Path
) -> Iterator[Bench]:
    place = f"{docker_registry}/jobs-{uuid.uuid4().hex[:8]}"
    made = Bench(server, http, docker_engine, tmp_path, place)
    yield made
    made.images.close()


def dockerfile(image: str, *lines: str) -> dict[str, str]:
    return {
        "Dockerfile.wandb": "\n".join([f"FROM {image}", "COPY word /", *lines, ""]),
        "word": uuid.uuid4().hex,
    }


@pytest.mark.req(
    "JOB-3", "JOB-6", "JOB-9", "IMG-2", "IMG-3", "IMG-4", "IMG-5", "REG-2", "REG-3", "DKR-3", "DKR-4"
)
def test_equal_code_is_built_once_and_found_again(
    bench: Bench, tiny_image: str, docker_engine: TestEngine
) -> None:
    files = dockerfile(tiny_image)
    first = bench.image(bench.job(files))
    assert bench.registry is not None
    assert first.startswith(f"{bench.registry.repository}@sha256:")
    # Other jobs with the same content, and the same job again: there already.
    again = bench.job(files)
    assert [bench.image(again), bench.image(again)] == [first, first]
    assert bench.built == 1
    assert bench.image(bench.job({**files, "word": "changed"})) != first
    assert bench.built == 2
    assert not bench.left()
    docker_engine.client.pull(first)
    assert docker_engine.client.inspect_image(first)


@pytest.mark.req("REG-4", "SM-10", "VTX-7")
@pytest.mark.parametrize("resource", ["sagemaker", "vertex"])
def test_nothing_is_built_for_a_cloud_that_cannot_read_it(
    bench: Bench, tiny_image: str, resource: str
) -> None:
    job = replace(spec(bench.job(dockerfile(tiny_image))), resource=resource)
    with pytest.raises(Refused, match="run images of a cloud registry") as refused:
        bench.images.of(job, identity(), is_stopped=lambda: False)
    assert "builder.destination" in refused.value.hint
    assert bench.built == 0
    assert not bench.left()


@pytest.mark.req("JOB-8")
def test_a_changed_job_is_a_new_image_without_anything_done_by_hand(bench: Bench, tiny_image: str) -> None:
    files = dockerfile(tiny_image)
    job = bench.job(files, name="steady")
    before = bench.image(job)
    bench.job({**files, "word": "more"}, name="steady")
    assert bench.image(job) != before


def test_twenty_equal_launches_make_one_build(bench: Bench, tiny_image: str) -> None:
    job = bench.job(dockerfile(tiny_image, "RUN sleep 1"))
    with ThreadPoolExecutor(20) as pool:
        images = list(pool.map(lambda _: bench.image(job), range(20)))
    assert len(set(images)) == 1
    assert bench.built == 1
    assert not bench.left()


def test_a_failed_build_has_its_whole_log_and_leaves_nothing(bench: Bench, tiny_image: str) -> None:
    job = bench.job(dockerfile(tiny_image, "RUN echo first words; echo last words; exit 9"))
    with pytest.raises(BuildError, match="non-zero code: 9") as failed:
        bench.image(job)
    assert "first words" in failed.value.log
    assert failed.value.log.index("first words") < failed.value.log.index("last words")
    assert not bench.left()
    with pytest.raises(BuildError):
        bench.image(job)  # nothing of it is remembered


def test_a_stop_ends_the_build(bench: Bench, tiny_image: str) -> None:
    job = bench.job(dockerfile(tiny_image, "RUN sleep 300"))
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    since = time.monotonic()
    with pytest.raises(Stopped):
        bench.image(job, stop.is_set)
    assert time.monotonic() - since < 60


def test_what_an_earlier_process_left_is_removed(bench: Bench) -> None:
    (bench.folder / "old").mkdir(parents=True)
    bench.images.clean()
    assert not bench.left()


@pytest.mark.req("JOB-1", "JOB-4")
def test_an_image_job_is_its_image_whatever_the_builder(
    server: OwnServer, bench: Bench, http: HttpClient, tmp_path: Path
) -> None:
    source = {"image": "registry.example/team/ready:1", "entrypoint": ["python", "x.py"]}
    put_job(server, "jobs/ready", {"source_type": "image", "source": source})
    found = bench.images.of(spec("team/jobs/ready:latest"), identity(), is_stopped=lambda: False)
    assert (found.reference, list(found.entry_point)) == ("registry.example/team/ready:1", ["python", "x.py"])
    assert found.credentials is None
    idle = JobImages(
        choice=BuilderChoice(type="noop", why="a test"),
        builder=None,
        registry=None,
        backend=Backend(server.server.url, Secret(KEY), http),
        access=Access(),
        folder=tmp_path / "none",
    )
    assert idle.of(spec("team/jobs/ready:latest"), identity(), is_stopped=lambda: False).reference
    with pytest.raises(Refused, match=r"builder\.type is noop"):
        idle.of(spec(bench.job({"word": "x"})), identity(), is_stopped=lambda: False)


def test_a_job_that_is_not_there_is_named(bench: Bench) -> None:
    with pytest.raises(SourceNotFound, match="team/jobs/absent"):
        bench.image("team/jobs/absent:latest")


@pytest.mark.req("REG-6", "CON-12")
def test_an_image_of_our_registry_brings_what_opens_it(bench: Bench) -> None:
    assert bench.registry is not None
    assert bench.images.ready(f"{bench.registry.repository}:1").credentials is not None
    assert bench.images.ready("docker.io/library/busybox").credentials is None


@pytest.mark.req("DKR-7")
def test_without_a_registry_images_stay_in_the_engine(
    server: OwnServer, http: HttpClient, docker_engine: TestEngine, tiny_image: str, tmp_path: Path
) -> None:
    bench = Bench(server, http, docker_engine, tmp_path)
    try:
        job = bench.job(dockerfile(tiny_image))
        image = bench.image(job)
        assert (image, bench.built) == (bench.image(job), 1)
        docker_engine.client.remove_image(image, force=True)
        with pytest.raises(NotFound):
            docker_engine.client.inspect_image(image)
        assert bench.image(job) == image
        assert bench.built == 2
        docker_engine.client.remove_image(image, force=True)
    finally:
        bench.images.close()


def test_an_image_runs_as_the_user_that_the_run_names(
    bench: Bench, tiny_image: str, docker_engine: TestEngine
) -> None:
    """Of a Dockerfile that is written; on SageMaker root is the only one that can do its work."""
    job = bench.job({"train.py": "", "requirements.txt": ""})
    resolved = artifact.resolve(job, Backend(bench.server.server.url, Secret(KEY), bench.http))
    for named, resource, user in ((1234, "local-container", 1234), (None, "local-container", 1000),
                                  (1234, "sagemaker", 0)):  # fmt: skip
        options = bench.images._options(replace(spec(job), resource=resource, user_id=named))
        text = plan(bench.folder.parent, resolved, options, write=False).text
        assert f"USER {user}:0" in text


def test_a_log_keeps_its_end() -> None:
    log = BuildLog()
    for number in range(30_000):
        log.add(f"{number} {'x' * 60}")
    assert len(str(log)) <= 1_000_000
    assert str(log).endswith(f"29999 {'x' * 60}\n")
