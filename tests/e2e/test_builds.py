"""Jobs that are code: made by the command line, built by the agent with a real engine, run to their ends.

The engine of the tests pulls nothing, so most jobs bring a Dockerfile that starts from an image of the tests.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import tempfile
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import urllib3

from launch_agent.images.rootfs import image_from_host
from tests.fakes import git_servers
from tests.fakes.command import Ran, command
from tests.fakes.docker_engine import TestEngine, locked
from tests.fakes.eventually import eventually
from tests.fakes.git_servers import HttpsServer, Repository

pytestmark = pytest.mark.docker
Site = Any  # tests.e2e.conftest.Site, which is no module to import
Agent = Any

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
DOCKER = {"type": "docker"}


class Jobs:
    """Makes jobs on the site's server from folders of its own. `names` are those that it made."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        self.names: list[str] = []

    def run(self, *arguments: str, **environment: str) -> Ran:
        """A command of the command line, of a user of the site's server."""
        env = {
            "WANDB_BASE_URL": self.site.server.url,
            "WANDB_API_KEY": self.site.server.api_key,
            "WANDB_PROJECT": "train",
            "HOME": str(self.folder),
        }
        return command(*arguments, env={**env, **environment})

    def create(self, kind: str, place: object, *arguments: str, name: str = "", **environment: str) -> str:
        name = name or f"job-{uuid.uuid4().hex[:8]}"
        self.names.append(name)
        made = self.run(
            "job", "create", kind, str(place), "-n", name, *arguments, "--format", "json", **environment
        )
        assert made.code == 0, made.err
        return str(made.json()["job"])

    def code(self, *lines: str, name: str = "", **files: str) -> str:
        """A job with this Dockerfile, on the site's image; an underscore of a file's name is a dot."""
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        (folder / "Dockerfile.wandb").write_text("\n".join([f"FROM {self.site.image}", *lines, ""]))
        for path, text in files.items():
            (folder / path.replace("_", ".")).write_text(text)
        return self.create("code", folder, name=name)

    def push(self, queue: str, job: str, *, args: tuple[str, ...] = ()) -> str:
        spec = {
            "project": "train",
            "resource": "local-container",
            "job": job,
            "overrides": {"args": list(args)},
        }
        return str(self.site.backend.push(queue, spec))


@pytest.fixture
def jobs(site: Site, tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(site, tmp_path)
    yield made
    for name in made.names:
        label = f"org.opencontainers.image.title={name}"
        for image in site.engine.client.images(filters={"label": label}):
            site.engine.client.remove_image(image["Id"], force=True)


@pytest.fixture
def place(docker_registry: str) -> str:
    """A repository of the test's own."""
    return f"{docker_registry}/e2e/{uuid.uuid4().hex[:8]}"


def tags(place: str) -> dict[str, str]:
    """The registry's tags of a repository, each with its digest."""
    host, _, path = place.partition("/")

    def get(what: str) -> Any:
        return urllib3.request(
            "GET",
            f"http://{host}/v2/{path}/{what}",
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
            timeout=10.0,
        )

    names = get("tags/list").json().get("tags") or ()
    return {name: get(f"manifests/{name}").headers["Docker-Content-Digest"] for name in names}


def builds(engine: TestEngine, since: float, repository: str) -> int:
    """How often the engine has named an image of the repository since then, as each build does once."""
    events = engine.client.events(
        since=int(since), until=int(time.time()) + 1, filters={"type": "image", "event": "tag"}, decode=True
    )
    named = [event["Actor"]["Attributes"].get("name", "") for event in events]
    return len([name for name in named if name.startswith(f"{repository}:") and "@" not in name])


@pytest.mark.req(
    "JOB-3", "JOB-6", "JOB-8", "JOB-9", "BLD-10", "BLD-11", "IMG-1", "IMG-2", "IMG-3", "IMG-4", "IMG-5",
    "DKR-3", "DKR-4", "REG-2", "REG-11", "REG-13",
)  # fmt: skip
def test_code_is_built_pushed_and_run_and_changed_code_is_built_anew(
    site: Site, jobs: Jobs, place: str
) -> None:
    lines = ("COPY word /", 'ENTRYPOINT ["cat", "/word"]')
    queue = site.queue()
    since = time.time()
    with site.agent(queue, builder={**DOCKER, "destination": place}) as agent:
        job = jobs.code(*lines, name="steady", word="first\n")
        first = jobs.push(queue, job)
        site.finished(first)
        assert agent.output(first) == ["first"]
        ((tag, digest),) = tags(place).items()
        assert re.fullmatch(r"[0-9a-f]{40}", tag)
        assert agent.container(first)["Config"]["Image"] == f"{place}@{digest}"
        assert f"is image {place}:{tag}: the code has Dockerfile.wandb" in agent.log

        second = jobs.push(queue, job)
        site.finished(second)
        assert "is there already" in agent.log
        assert builds(site.engine, since, place) == 1

        item = jobs.push(queue, jobs.code(*lines, name="steady", word="second\n"))
        site.finished(item)
        assert agent.output(item) == ["second"]
        assert len(tags(place)) == 2
        assert builds(site.engine, since, place) == 2
        assert not list((agent.process.config.parent / "state" / "builds").iterdir())


@pytest.mark.req("IMG-4", "IMG-5", "REG-3")
def test_another_agent_finds_what_the_first_has_built(site: Site, jobs: Jobs, place: str) -> None:
    word = uuid.uuid4().hex
    queue = site.queue()
    since = time.time()
    for _ in range(2):
        with site.agent(queue, builder={**DOCKER, "destination": place}) as agent:
            job = jobs.code("COPY word /", 'ENTRYPOINT ["cat", "/word"]', word=word)
            item = jobs.push(queue, job)
            site.finished(item)
            assert agent.output(item) == [word]
    assert builds(site.engine, since, place) == 1


@pytest.mark.req("DKR-1", "DKR-2", "DKR-7", "BLD-4")
@pytest.mark.parametrize("builder", [DOCKER, None])
def test_without_a_destination_images_stay_in_the_engine(
    site: Site, jobs: Jobs, builder: Mapping[str, str] | None
) -> None:
    queue = site.queue()
    config: dict[str, Any] = {"builder": builder} if builder else {}
    environment = {"DOCKER_HOST": site.engine.host}
    with site.agent(queue, environment=environment, **config) as agent:
        job = jobs.code('ENTRYPOINT ["echo", "here:"]', note=uuid.uuid4().hex)
        item = jobs.push(queue, job, args=("a b", "$HOME"))
        site.finished(item)
        assert agent.output(item) == ["here: a b $HOME"]
        image = agent.container(item)["Config"]["Image"]
        assert image.startswith("launch-agent.local/jobs:")
        again = jobs.push(queue, job)
        site.finished(again)
        assert agent.container(again)["Config"]["Image"] == image
        assert "is there already" in agent.log


def test_a_build_that_fails_is_told_with_the_end_of_its_log(site: Site, jobs: Jobs) -> None:
    queue = site.queue()
    with site.agent(queue, builder=DOCKER):
        job = jobs.code("RUN echo first words; echo last words; exit 9", note=uuid.uuid4().hex)
        item = jobs.push(queue, job)
        message = site.failed(item)
        assert message.startswith("BuildError: the build failed: ")
        assert "non-zero code: 9" in message
        assert site.backend.item(item)["error"]["stage"] == "build"
        log = eventually(lambda: site.backend.error_log(item), within=30)
        assert log.index("first words") < log.index("last words")
        assert site.server.api_key not in log
        # What comes after it is none the worse.
        well = jobs.push(queue, jobs.code('ENTRYPOINT ["true"]', note=uuid.uuid4().hex))
        site.finished(well)


def test_a_stop_ends_the_build(site: Site, jobs: Jobs) -> None:
    queue = site.queue()
    with site.agent(queue, builder=DOCKER) as agent:
        word = uuid.uuid4().hex
        item = jobs.push(queue, jobs.code(f"RUN echo {word}; sleep 600"))
        eventually(lambda: building(site.engine, word), within=60, what="the build has begun")
        site.backend.stop_item(item)
        assert site.ended(item)["detailedState"] == "STOPPED"
        eventually(lambda: not building(site.engine, word), within=60, what="the build has ended")
        assert not agent.containers(item)


def building(engine: TestEngine, word: str) -> bool:
    """Whether a build has a container that runs a command with this word."""
    return any(word in container["Command"] for container in engine.client.containers())


def test_five_equal_jobs_at_once_are_one_build(site: Site, jobs: Jobs, place: str) -> None:
    queue = site.queue()
    job = jobs.code("RUN sleep 2", 'ENTRYPOINT ["echo", "built"]', note=uuid.uuid4().hex)
    items = [jobs.push(queue, job) for _ in range(5)]
    since = time.time()
    with site.agent(queue, builder={**DOCKER, "destination": place}) as agent:
        for item in items:
            site.finished(item, within=60)
        assert {agent.container(item)["Config"]["Image"] for item in items} == {
            f"{place}@{digest}" for digest in tags(place).values()
        }
    assert builds(site.engine, since, place) == 1


def test_an_agent_that_dies_while_it_builds_builds_again(site: Site, jobs: Jobs) -> None:
    queue = site.queue()
    word = uuid.uuid4().hex
    with site.agent(queue, builder=DOCKER) as agent:
        job = jobs.code(f"RUN echo {word}; sleep 3", 'ENTRYPOINT ["echo", "done"]')
        item = jobs.push(queue, job)
        eventually(lambda: building(site.engine, word), within=60, what="the build has begun")
        agent.restart()
        site.finished(item, within=60)
        assert agent.output(item) == ["done"]
        assert not list((agent.process.config.parent / "state" / "builds").iterdir())


@pytest.fixture
def https(tmp_path: Path) -> Iterator[HttpsServer]:
    (tmp_path / "git").mkdir()
    try:
        with git_servers.https_server(tmp_path / "etc", tmp_path / "git") as server:
            yield server
    except git_servers.NoServer as error:
        pytest.skip(str(error))


@pytest.mark.req("JOB-2", "JOB-8", "BLD-10")
def test_a_repository_is_built_and_run_and_its_next_commit_too(
    site: Site, jobs: Jobs, https: HttpsServer
) -> None:
    repository = Repository(https.root / "code.git")
    trust = {"GIT_SSL_CAINFO": str(https.authority)}
    queue = site.queue()
    dockerfile = f'FROM {site.image}\nCOPY word /\nENTRYPOINT ["cat", "/word"]\n'
    with site.agent(queue, builder=DOCKER, environment=trust) as agent:
        for word in ("first", "second"):
            repository.commit({"job/Dockerfile.wandb": dockerfile, "job/word": word})
            job = jobs.create(
                "git", f"{https.url('code.git')}#main:job", name="tracked", PATH="/usr/bin:/bin", **trust
            )
            item = jobs.push(queue, job)
            site.finished(item)
            assert agent.output(item) == [word]


@pytest.mark.req("JOB-8")
def test_code_is_submitted_and_watched_in_one_step(site: Site, jobs: Jobs) -> None:
    folder = jobs.folder / "one-step"
    folder.mkdir()
    text = f'FROM {site.image}\nCOPY . /job\nENTRYPOINT ["sh", "/job/run.sh"]\n'
    (folder / "Dockerfile.wandb").write_text(text)
    queue = site.queue()
    jobs.names.append("job-one-step")
    with site.agent(queue, builder=DOCKER):
        for end, code in (("exit 0", 0), ("exit 4", 1)):
            (folder / "run.sh").write_text(f"{end}\n")
            done = jobs.run("submit", "-q", queue, "--code", str(folder), "--watch")
            assert done.code == code, done.out + done.err


@pytest.fixture
def python_images(docker_engine: TestEngine) -> Iterator[None]:
    """This machine's Python under the names of the images that Dockerfiles of ours start from, with the pip
    that it brings; for engines of the tests alone, whose images nobody else uses."""
    if not docker_engine.private:
        pytest.skip("this engine may have these images for somebody")
    client = docker_engine.client
    names = [f"docker.io/library/python:{PYTHON}{kind}" for kind in ("", "-slim")]
    base = f"launch-agent-test/base:{uuid.uuid4().hex[:8]}"
    lock = Path(tempfile.gettempdir(), "launch-agent-test-python.lock")
    with locked(lock), tempfile.TemporaryDirectory() as folder:
        programs = ["sh", "install", "ln", "cat", "id", "env"]
        archive = image_from_host(Path(folder, "image.tar"), programs, python=True)
        client.import_image(str(archive), repository=base.partition(":")[0], tag=base.partition(":")[2])
        library = sysconfig.get_path("stdlib")
        context = Path(folder, "context")
        context.mkdir()
        with zipfile.ZipFile(context / "ensurepip.zip", "w") as packed:
            for path in Path(library, "ensurepip").rglob("*"):
                packed.write(path, path.relative_to(library))
        (context / "Dockerfile").write_text(
            f"FROM {base}\nCOPY ensurepip.zip /\nRUN ln -s python3 /usr/bin/python "
            f"&& python -m zipfile -e /ensurepip.zip {library}\n"
        )
        for event in client.build(path=str(context), tag=names[0], decode=True, rm=True):
            assert "error" not in event, event
        client.tag(names[0], names[1].rpartition(":")[0], tag=names[1].rpartition(":")[2])
        yield
        for name in (*names, base):
            client.remove_image(name, force=True)


def wheel(folder: Path) -> None:
    """A package that pip installs without an index."""
    info = "greeting-1.0.dist-info"
    with zipfile.ZipFile(folder / "greeting-1.0-py3-none-any.whl", "w") as packed:
        packed.writestr("greeting.py", "WORD = 'hello from a package'\n")
        packed.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", "")


SCRIPT = """
import os, sys, greeting
print(greeting.WORD, sys.argv[1:])
print(os.getuid(), os.getcwd())
open("output", "w").close()
"""


@pytest.mark.req("JOB-3", "BLD-10", "DKR-3")
def test_a_dockerfile_that_is_written_makes_an_image_that_runs(
    site: Site, jobs: Jobs, python_images: None
) -> None:
    folder = jobs.folder / "written"
    folder.mkdir()
    wheel(folder)
    (folder / "requirements.txt").write_text("./greeting-1.0-py3-none-any.whl\n")
    (folder / "train.py").write_text(SCRIPT)
    queue = site.queue()
    with site.agent(queue, builder=DOCKER) as agent:
        job = jobs.create("code", folder, "-E", "python train.py --lr", "-r", PYTHON)
        item = jobs.push(queue, job, args=("a b",))
        site.finished(item, within=120)
        assert agent.output(item) == ["hello from a package ['--lr', 'a b']", "1000 /home/launch/job"]
