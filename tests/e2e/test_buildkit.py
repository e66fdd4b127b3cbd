"""Jobs that are code, built by a BuildKit daemon for an agent whose containers an engine runs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch_agent.images.rootfs import image_from_host
from tests.builders.buildkit.conftest import Bench, Shelf
from tests.builders.buildkit.test_daemon import _steps
from tests.e2e.test_builds import Jobs
from tests.fakes.buildkit import Daemon, NoBuildkit, daemon
from tests.fakes.eventually import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]
Site = Any  # tests.e2e.conftest.Site, which is no module to import


@pytest.fixture(scope="module")
def buildkit() -> Iterator[Daemon]:
    try:
        with daemon() as found:
            yield found
    except NoBuildkit as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def base(buildkit: Daemon, docker_registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    bench = Bench(buildkit, tmp_path_factory.mktemp("base"))
    made = bench.context({"Dockerfile": "FROM scratch\nADD image.tar /\n"})
    image_from_host(made.directory / "image.tar", ("sh", "cat", "echo", "sleep"), python=False)
    found = bench.build(bench.builder(Shelf(docker_registry)), made)
    return f"{found.repository}@{found.digest}"


class Code(Jobs):
    """Jobs whose Dockerfiles begin with an image in the registry."""

    base = ""

    def code(self, *lines: str, name: str = "", **files: str) -> str:
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        (folder / "Dockerfile.wandb").write_text("\n".join([f"FROM {self.base}", *lines, ""]))
        for path, text in files.items():
            (folder / path).write_text(text)
        return self.create("code", folder, name=name)


@pytest.fixture
def jobs(site: Site, base: str, tmp_path: Path) -> Code:
    made = Code(site, tmp_path)
    made.base = base
    return made


@pytest.mark.req("IMG-1", "IMG-2", "IMG-3", "IMG-4", "BLD-7", "BLD-10")
def test_code_is_built_pushed_and_run(
    site: Site, jobs: Code, buildkit: Daemon, docker_registry: str, tmp_path: Path
) -> None:
    place = f"{docker_registry}/e2e/{uuid.uuid4().hex[:8]}"
    environment = {"PATH": f"{buildkit.clients}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    builder = {"type": "buildkit", "destination": place, "buildkit-address": buildkit.address}
    queue = site.queue()
    with site.agent(queue, builder=builder, environment=environment) as agent:
        job = jobs.code("COPY word /", 'ENTRYPOINT ["cat", "/word"]', name="steady", word="first\n")
        first = jobs.push(queue, job)
        site.finished(first)
        assert agent.output(first) == ["first"]
        image = agent.container(first)["Config"]["Image"]
        assert image.startswith(f"{place}@sha256:")
        again = jobs.push(queue, job)
        site.finished(again)
        assert "is there already" in agent.log

        failing = jobs.push(queue, jobs.code("RUN echo last words; exit 9"))
        message = site.failed(failing)
        assert "exit code: 9" in message
        assert not list(tmp_path.glob("launch-agent-buildkit-*"))
        assert site.backend.item(failing)["error"]["stage"] == "build"

        # An agent that is killed in the middle of a build leaves nothing that runs.
        word = f"word-{uuid.uuid4().hex}"
        jobs.push(queue, jobs.code(f"RUN sleep 300; echo {word}"))
        eventually(lambda: _steps(word), within=60, every=0.1, what="the step runs")
        agent.process.kill()
        eventually(lambda: not _steps(word), within=30, every=0.1, what="client and step have ended")
    site.engine.client.remove_image(image, force=True)
