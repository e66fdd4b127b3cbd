"""How long a job that is code takes from its source to its submission where there is nothing to build.

Three ways: the very version ran before (its tag is known), another version of the same content (its code is
fetched and named, and its image is there), and a run without a build on Kubernetes (an order is written). The
queue server and the registry are real ones on this machine; what they take is in the figures, but for the
download of the code, which is told by itself. Each is the median of some. Starting the run is left out.
Whether a context was packed is counted.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.figures import Figure, percentile
from launch_agent.builders import Builder
from launch_agent.builders.layers.builder import LayersBuilder
from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.dockerconfig import DockerConfig
from launch_agent.clients.oci.repository import Repository
from launch_agent.control import job_images
from launch_agent.control.builder_choice import BuilderChoice
from launch_agent.control.job_images import JobImages
from launch_agent.control.unbuilt import Unbuilt
from launch_agent.images.job import Options, plan
from launch_agent.registries.generic import GenericRegistry
from launch_agent.runners.kubernetes.code import Fetching
from launch_agent.runners.kubernetes.manifest import compose
from launch_agent.runners.kubernetes.namespaces import Namespaces
from launch_agent.sources import Checkout, Source, artifact
from launch_agent.sources.artifact import Backend
from launch_agent.sources.git.access import Access
from launch_agent.sources.of_job import source_of
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.job import Job
from launch_agent.spec.model import RunIdentity, RunRequest, RunSpec
from launch_agent.spec.secret import Secret
from tests.fakes.images import push_image
from tests.fakes.own_artifacts import put_artifact, put_job
from tests.fakes.own_server import KEY, OwnServer
from tests.fakes.registry import NoRegistry, registry

_NAME = "source to submission, image there"
_TIMES, _VERSIONS, _FILES, _SIZE, _GOAL = 20, 8, 200, 10_000, 300.0


@dataclass(slots=True)
class _Timed:
    """A source that adds up what its fetches take, in seconds."""

    source: Source
    taken: list[float]

    def fetch(self, into: Path) -> Checkout:
        began = time.perf_counter()
        try:
            return self.source.fetch(into)
        finally:
            self.taken.append(time.perf_counter() - began)


@dataclass(slots=True)
class _Counted:
    """A builder that counts the contexts that it is given."""

    builder: Builder
    contexts: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.builder, name)

    def build(
        self, context: BuildContext, ref: ImageRef, *, log: Callable[[str], None], stop: threading.Event
    ) -> ImageRef:
        self.contexts += 1
        return self.builder.build(context, ref, log=log, stop=stop)


class _Stand:
    """A server, a registry, and what an agent makes its images with."""

    def __init__(self, server: OwnServer, address: str, folder: Path, http: HttpClient) -> None:
        self.server, self.folder = server, folder
        self.downloads: list[float] = []
        self.backend = Backend(server.server.url, Secret(KEY), http)
        self.access = Access(environment={"PATH": os.environ["PATH"], "HOME": str(folder)})
        shelf = GenericRegistry(f"{address}/jobs", DockerConfig({"HOME": str(folder)}))
        layers = LayersBuilder(shelf, cache=folder / "cache", environment={"HOME": str(folder)}, timeout=60)
        self.builder = _Counted(layers)
        self.repository = Repository(RegistryClient(address), "jobs")
        unbuilt = Unbuilt(
            base_image="registry.example.com/base:1",
            requirements=False,
            backend=self.backend,
            api_key=Secret(KEY),
            access=self.access,
        )
        self.built = self._images(self.builder, None)
        self.unbuilt = self._images(None, unbuilt)

    def _images(self, builder: Any, unbuilt: Unbuilt | None) -> JobImages:
        return JobImages(
            choice=BuilderChoice(type="layers" if builder else "noop", why="measured"),
            builder=builder,
            registry=None,
            backend=self.backend,
            access=self.access,
            folder=self.folder / "builds",
            unbuilt=unbuilt,
        )

    def job(self, name: str) -> str:
        """A new version of a job of many files, whose image is in the registry."""
        files = {f"d{number // 20}/f{number}.py": bytes(_SIZE) for number in range(_FILES)}
        made = put_artifact(self.server, f"jobs/code-{name}", {"train.py": b"print()\n", **files})
        source = {"artifact": f"wandb-artifact://_id/{made}", "entrypoint": ["python", "train.py"]}
        put_job(self.server, f"jobs/{name}", {"source_type": "artifact", "source": source, "runtime": "3.11"})
        return f"team/jobs/{name}:latest"

    def fill(self, name: str) -> None:
        """Put an image where the job's is looked for."""
        job = artifact.resolve(name, self.backend)
        source = source_of(job, backend=self.backend, access=self.access)
        assert source is not None
        with tempfile.TemporaryDirectory() as folder:
            context = plan(source.fetch(Path(folder)).directory, job, Options())
        push_image(self.repository, context.digest)

    def submit(self, images: JobImages, job: str) -> float:
        """Milliseconds from the run spec to the objects that would be submitted."""
        spec = RunSpec(entity="team", project="jobs", resource="kubernetes", job=job)
        identity = RunIdentity(
            agent="bench", item_id=uuid.uuid4().hex, queue="q", queue_entity="team", run_id="abcd1234",
            entity="team", project="jobs",
        )  # fmt: skip
        began = time.perf_counter()
        image = images.of(spec, identity, is_stopped=lambda: False)
        request = RunRequest(
            identity=identity, image=image.reference, entry_point=image.entry_point, code=image.code,
            secret_env={"WANDB_API_KEY": Secret(KEY)},
        )  # fmt: skip
        compose(request, allowed=Namespaces(default="jobs"), fetching=Fetching(image="agent:1"))
        return (time.perf_counter() - began) * 1000


def measure() -> Iterator[Figure]:
    blank = Figure(name=_NAME, subject="", value=None, unit="ms", goal=_GOAL)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with registry(Path(folder, "registry")) as address:
                yield from _measure(address, Path(folder), blank)
        except NoRegistry as error:
            yield replace(blank, subject="launch-agent", note=str(error))


@contextmanager
def _timing(taken: list[float]) -> Iterator[None]:
    """What job images fetch is timed in this block."""

    def timed(job: Job, **how: Any) -> Source | None:
        source = source_of(job, **how)
        return _Timed(source, taken) if source is not None else None

    with mock.patch.object(job_images, "source_of", timed):
        yield


def _measure(address: str, folder: Path, blank: Figure) -> Iterator[Figure]:
    server = OwnServer(folder / "server")
    http = HttpClient(HttpSettings())
    try:
        stand = _Stand(server, address, folder, http)
        job = stand.job("train")
        stand.fill(job)
        stand.submit(stand.built, stand.job("warm"))  # imports what is imported at first use
        with _timing(stand.downloads):
            same = [
                stand.submit(stand.built, stand.job(f"train-{number}")) - stand.downloads[-1] * 1000
                for number in range(_VERSIONS)
            ]
            stand.submit(stand.built, job)
        again = [stand.submit(stand.built, job) for _ in range(_TIMES)]
        without = [stand.submit(stand.unbuilt, job) for _ in range(_TIMES)]
        left = sum(1 for _ in (folder / "builds").iterdir())
    finally:
        http.close()
        server.close()
    what = f"{_FILES} files, {_FILES * _SIZE / 1e6:g} MB"
    yield replace(blank, subject="the same version", value=percentile(again, 0.5))
    yield replace(
        blank,
        subject=f"another version of the same content, beside the download ({what})",
        value=percentile(same, 0.5),
    )
    download = percentile(stand.downloads, 0.5) * 1000
    yield Figure(name=f"download of {what}", subject="the embedded server", value=download, unit="ms")
    yield replace(
        blank, name="source to submission, no build", subject="Kubernetes", value=percentile(without, 0.5)
    )
    yield Figure(
        name="contexts packed where the image is there", subject="all of these",
        value=stand.builder.contexts + left, unit="contexts", goal=0,
    )  # fmt: skip
