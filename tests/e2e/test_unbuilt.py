"""Jobs that are code and run without a build, by a whole agent and a real engine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import git_servers
from tests.fakes.command import command
from tests.fakes.docker_engine import TestEngine
from tests.fakes.eventually import eventually
from tests.fakes.git_servers import PASSWORD, USER, HttpsServer, Repository

pytestmark = pytest.mark.docker
Site = Any  # tests.e2e.conftest.Site, which is no module to import
SCRIPT = 'cat word; pwd; echo "$@"; id -u; echo more > written; cat written\n'


class Jobs:
    """Makes jobs on the site's server, as a user does."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder

    def create(self, kind: str, place: object, *arguments: str, **environment: str) -> str:
        env = {
            "WANDB_BASE_URL": self.site.server.url,
            "WANDB_API_KEY": self.site.server.api_key,
            "WANDB_PROJECT": "train",
            "HOME": str(self.folder),
        }
        words = (*arguments, "-n", f"job-{uuid.uuid4().hex[:8]}", "--format", "json")
        made = command("job", "create", kind, str(place), *words, env=env | environment)
        assert made.code == 0, made.err
        return str(made.json()["job"])

    def code(self, *arguments: str, **files: str) -> str:
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        for path, text in files.items():
            (folder / path.replace("_", ".")).write_text(text)
        return self.create("code", folder, *arguments)

    def push(self, queue: str, job: str, **more: Any) -> str:
        spec = {"project": "train", "resource": "local-container", "job": job, **more}
        return str(self.site.backend.push(queue, spec))


@pytest.fixture
def jobs(site: Site, tmp_path: Path) -> Jobs:
    return Jobs(site, tmp_path)


def noop(site: Site, **more: Any) -> dict[str, Any]:
    return {"type": "noop", "base-image": site.image, **more}


def mounts(container: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(container["Mounts"])


@pytest.mark.req("BLD-13", "NOOP-2", "JOB-1")
def test_an_artifact_runs_in_the_image_of_the_config(site: Site, jobs: Jobs) -> None:
    queue = site.queue()
    with site.agent(queue, builder=noop(site)) as agent:
        job = jobs.code("-E", "sh run.sh --lr", run_sh=SCRIPT, word="hello\n")
        item = jobs.push(queue, job, overrides={"args": ["a b"]})
        site.finished(item)
        assert agent.output(item) == ["hello", "/home/launch/job", "--lr a b", "0", "more"]
        container = agent.container(item)
        assert container["Config"]["Image"] == site.image
        assert not mounts(container)
        assert "runs without a build" in agent.log
        # Neither code nor contexts are left on the agent's machine.
        assert not list((agent.process.config.parent / "state" / "builds").iterdir())


def test_any_user_may_write_beside_the_code_and_a_read_only_container_may_too(site: Site, jobs: Jobs) -> None:
    queue = site.queue({"user": "1234", "read-only": True})
    with site.agent(
        queue, builder=noop(site), policy={"allow": {"local-container": {"user": True}}}
    ) as agent:
        item = jobs.push(queue, jobs.code("-E", "sh run.sh", run_sh=SCRIPT, word="hello\n"))
        site.finished(item)
        assert agent.output(item) == ["hello", "/home/launch/job", "", "1234", "more"]
        (volume,) = mounts(agent.container(item))
        assert (volume["Type"], volume["Destination"]) == ("volume", "/home/launch")


@pytest.fixture
def https(tmp_path: Path) -> Iterator[HttpsServer]:
    (tmp_path / "git" / "private").mkdir(parents=True)
    try:
        with git_servers.https_server(tmp_path / "etc", tmp_path / "git") as server:
            yield server
    except git_servers.NoServer as error:
        pytest.skip(str(error))


@pytest.mark.req("GIT-1", "GIT-2", "JOB-1")
def test_a_private_repository_is_fetched_by_the_configs_credentials(
    site: Site, jobs: Jobs, https: HttpsServer, tmp_path: Path
) -> None:
    repository = Repository(https.root / "private" / "code.git")
    repository.commit({"job/run.sh": SCRIPT, "job/word": "of git\n", "elsewhere": ""})
    login = f"{USER}:{PASSWORD.replace('/', '%2F').replace('@', '%40')}@"
    credentials = tmp_path / "credentials"
    credentials.write_text(https.url("", login=login) + "\n")
    (tmp_path / ".gitconfig").write_text(f"[credential]\n  helper = store --file={credentials}\n")
    trust = {"GIT_SSL_CAINFO": str(https.authority), "PATH": "/usr/bin:/bin"}
    queue = site.queue({"builder": {"base_image": site.image}})
    git = {"credentials": str(credentials)}
    with site.agent(queue, builder={"type": "noop"}, git=git, environment=trust) as agent:
        place = f"{https.url('private/code.git')}#main:job"
        item = jobs.push(queue, jobs.create("git", place, "-E", "sh run.sh", **trust))
        site.finished(item)
        assert agent.output(item)[:2] == ["of git", "/home/launch/job"]
        inspected = json.dumps(agent.container(item))
        assert "ses@me" not in inspected
        assert "ses%40me" not in inspected


@pytest.mark.req("JOB-7", "NOOP-1", "NOOP-3")
def test_without_any_image_the_job_is_refused_and_told_of_both_ways(site: Site, jobs: Jobs) -> None:
    queue = site.queue()
    with site.agent(queue, builder={"type": "noop"}):
        message = site.failed(jobs.push(queue, jobs.code("-E", "sh run.sh", run_sh="")))
        assert "builder.type is noop" in message
        assert "builder.base-image" in message


def test_an_agent_that_dies_before_the_start_starts_it_with_its_code(
    site: Site, jobs: Jobs, docker_engine: TestEngine
) -> None:
    """What is left is a container that never ran, and maybe without all of its code."""
    queue = site.queue({"stop-timeout": 1})
    with site.agent(queue, builder=noop(site)) as agent:
        job = jobs.code("-E", "sh run.sh", run_sh=SCRIPT, word="again\n")
        first = jobs.push(queue, job)
        site.finished(first)
        made = agent.container(first)
        item = jobs.push(queue, jobs.code("-E", "sh run.sh", run_sh="sleep 600\n"))
        running = agent.running(item)
        labels = {**running["Config"]["Labels"], "launch-agent/item-id": "never-started"}
        lost = docker_engine.client.create_container_from_config(
            {"Image": site.image, "Entrypoint": ["true"], "Labels": labels}, f"lost-{uuid.uuid4().hex[:8]}"
        )["Id"]
        agent.restart()
        names = lambda: [each["Id"] for each in agent.containers()]  # noqa: E731
        eventually(lambda: lost not in names(), within=30, what="what never ran is removed")
        assert made["Id"] in names()
        assert agent.running(item)["Id"] == running["Id"]
        site.backend.stop_item(item)
        site.ended(item, within=60)
