"""`wandb job create` and `wandb launch`, unmodified, make jobs on our server and put them on its queues."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.sources import artifact
from launch_agent.sources.git.access import Access
from launch_agent.sources.of_job import source_of
from launch_agent.spec.secret import Secret
from tests.fakes import git_servers
from tests.fakes.backend import Backend
from tests.fakes.git_servers import HttpsServer, Repository
from tests.fakes.wandb_sandbox import WandbSandbox

pytestmark = [pytest.mark.interop]

_READ = """
import json, os, wandb
artifact = wandb.Api().artifact(%r, type="job")
folder = artifact.download()
with open(os.path.join(folder, "wandb-job.json")) as file:
    result([json.load(file), sorted(os.listdir(folder)), artifact.version, artifact.aliases])
"""


def described(sandbox: WandbSandbox, job: str) -> Any:
    return sandbox.script(_READ % job)


@pytest.fixture
def code(sandbox: WandbSandbox) -> Path:
    folder = sandbox.folder / "code"
    (folder / "lib").mkdir(parents=True)
    (folder / "train.py").write_text("print('training')\n")
    (folder / "requirements.txt").write_text("wandb\n")
    (folder / "lib" / "a.py").write_text("A = 1\n")
    return folder


def create(sandbox: WandbSandbox, backend: Backend, name: str, *arguments: str) -> str:
    return sandbox.wandb(
        "job", "create", "-p", "jobs", "-e", backend.entity, "-n", name, *arguments, timeout=120
    )


def fetch(backend: Backend, name: str, into: Path, environment: Mapping[str, str] | None = None) -> Path:
    """What our agent makes of a job."""
    into.mkdir()
    http = HttpClient(HttpSettings())
    try:
        client = artifact.Backend(backend.url, Secret(backend.api_key), http)
        job = artifact.resolve(name, client)
        source = source_of(job, backend=client, access=Access(environment=environment or {}))
        assert source is not None
        return source.fetch(into).directory
    finally:
        http.close()


@pytest.mark.req("JOB-1", "JOB-3", "JOB-8", "BLD-10")
def test_a_code_job_is_made_and_changed_code_is_its_next_version(
    backend: Backend, sandbox: WandbSandbox, code: Path
) -> None:
    arguments = ("-r", "3.11", "-E", "python train.py", "code", str(code))
    assert "Created job: team/jobs/train:v0" in create(sandbox, backend, "train", "-a", "best", *arguments)
    job, files, version, aliases = described(sandbox, "team/jobs/train:best")
    assert (job["source_type"], job["runtime"], version) == ("artifact", "3.11", "v0")
    assert job["source"]["artifact"].startswith("wandb-artifact://_id/")
    assert {"wandb-job.json", "requirements.frozen.txt"} <= set(files)
    assert set(aliases) == {"best", "latest"}

    fetched = fetch(backend, "team/jobs/train:best", sandbox.folder / "fetched")
    assert (fetched / "train.py").read_text() == "print('training')\n"
    assert (fetched / "lib" / "a.py").read_text() == "A = 1\n"

    assert "No changes detected" in create(sandbox, backend, "train", *arguments)
    (code / "train.py").write_text("print('training more')\n")
    assert "team/jobs/train:v1" in create(sandbox, backend, "train", *arguments)
    assert described(sandbox, "team/jobs/train:latest")[2] == "v1"
    assert described(sandbox, "team/jobs/train:best")[2] == "v0"
    listed = sandbox.wandb("job", "list", "-p", "jobs", "-e", backend.entity)
    assert "train -- versions (2): best,latest" in listed


def test_an_image_job_is_made_and_launched(backend: Backend, sandbox: WandbSandbox) -> None:
    create(sandbox, backend, "ready", "image", "registry.example/team/train:1")
    job, _files, _version, _aliases = described(sandbox, "team/jobs/ready:latest")
    assert (job["source_type"], job["source"]["image"]) == ("image", "registry.example/team/train:1")
    backend.create_queue("from-jobs", "local-container")
    sandbox.wandb(
        *("launch", "-j", "team/jobs/ready:latest", "-q", "from-jobs", "-p", "jobs", "-e", backend.entity)
    )
    (item,) = backend.items("from-jobs")
    assert item["runSpec"]["job"] == "team/jobs/ready:latest"


@pytest.fixture
def https(tmp_path: Path) -> Iterator[HttpsServer]:
    (tmp_path / "git").mkdir()
    try:
        with git_servers.https_server(tmp_path / "etc", tmp_path / "git") as server:
            yield server
    except git_servers.NoServer as error:
        pytest.skip(str(error))


@pytest.mark.req("JOB-2", "BLD-10")
def test_a_git_job_is_made_by_both_commands(
    backend: Backend, sandbox: WandbSandbox, https: HttpsServer
) -> None:
    repository = Repository(https.root / "code.git")
    commit = repository.commit({"train.py": "print(1)\n", "requirements.txt": "wandb\n"})
    sandbox.env["GIT_SSL_CAINFO"] = str(https.authority)
    url = https.url("code.git")
    create(sandbox, backend, "tracked", "-E", "python train.py", "-g", commit, "git", url)
    job, *_ = described(sandbox, "team/jobs/tracked:latest")
    assert job["source_type"] == "repo"
    assert job["source"]["git"] == {"remote": url, "commit": commit}
    fetched = fetch(backend, "team/jobs/tracked:latest", sandbox.folder / "fetched", sandbox.env)
    assert sorted(path.name for path in fetched.iterdir()) == ["requirements.txt", "train.py"]

    backend.create_queue("by-uri", "local-container")
    sandbox.wandb(
        *("launch", "-u", url, "-E", "python train.py", "-q", "by-uri", "-p", "jobs", "-e", backend.entity),
        *("--job-name", "from-uri"),
        timeout=120,
    )
    (item,) = backend.items("by-uri")
    assert json.dumps(item["runSpec"]["job"]).startswith('"team/jobs/from-uri')
