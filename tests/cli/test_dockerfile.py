"""`launch-agent dockerfile` shows what would be built of a folder, a repository or a job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import git_servers
from tests.fakes.git_servers import HttpsServer, Repository
from tests.fakes.own_artifacts import put_artifact, put_job
from tests.fakes.own_server import KEY, OwnServer


def run(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment}
    done = subprocess.run(
        [sys.executable, "-m", "launch_agent", "dockerfile", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**env, "PYTHONPATH": str(Path(__file__).parents[2] / "agent")},
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text("print(1)\n")
    (folder / "requirements.txt").write_text("numpy\n")
    return folder


def test_of_a_folder(code: Path) -> None:
    before = {path: path.read_bytes() for path in code.rglob("*")}
    done = run(str(code), "-E", "python train.py --x 'a b'", "--python", "3.13")
    assert 'ENTRYPOINT ["python", "train.py", "--x", "a b"]' in done.stdout
    assert "FROM docker.io/library/python:3.13-slim" in done.stdout
    assert "why: nobody names a Dockerfile" in done.stderr
    assert {path: path.read_bytes() for path in code.rglob("*")} == before
    again = run(str(code), "-E", "python train.py --x 'a b'", "--python", "3.13", "--format", "json")
    told = json.loads(again.stdout)
    assert told["dockerfile"] == done.stdout
    assert f"tag: {told['tag']}" in done.stderr


def test_of_a_folder_with_its_own_dockerfile(code: Path) -> None:
    (code / "Dockerfile.gpu").write_text("FROM scratch")
    done = run(str(code), "-D", "Dockerfile.gpu")
    assert done.stdout == "FROM scratch\n"
    assert "why: the run names Dockerfile.gpu" in done.stderr


def test_what_cannot_be_shown_is_said_in_a_sentence(code: Path) -> None:
    (code / "link").symlink_to("/etc")
    assert "leads out of it" in run(str(code), code=3).stderr
    assert "is a file" in run(str(code / "train.py"), code=2).stderr
    assert "only https and ssh" in run("file:///etc", code=3).stderr
    assert "close the quotes" in run(str(code), "-E", "python '", code=2).stderr


@pytest.fixture
def https(tmp_path: Path) -> Iterator[HttpsServer]:
    (tmp_path / "git").mkdir()
    try:
        with git_servers.https_server(tmp_path / "etc", tmp_path / "git") as server:
            yield server
    except git_servers.NoServer as error:
        pytest.skip(str(error))


def test_of_a_repository(https: HttpsServer) -> None:
    repository = Repository(https.root / "code.git")
    repository.commit(
        {"sub/train.py": "1", "sub/pyproject.toml": "[project]\nname='x'\ndependencies=['numpy']"}
    )
    url = https.url("code.git")
    done = run(url, "--build-context", "sub", GIT_SSL_CAINFO=str(https.authority))
    assert "packages come from pyproject.toml" in done.stderr
    missing = run(url, "--ref", "nowhere", code=3, GIT_SSL_CAINFO=str(https.authority))
    assert "no branch, tag or commit 'nowhere'" in missing.stderr


def test_of_a_job(tmp_path: Path) -> None:
    server = OwnServer(tmp_path)
    try:
        made = put_artifact(server, "jobs/code", {"train.py": b"1", "requirements.txt": b"numpy\n"})
        source = {"artifact": f"wandb-artifact://_id/{made}", "entrypoint": ["python", "train.py"]}
        put_job(server, "jobs/train", {"source_type": "artifact", "source": source, "runtime": "3.10"})
        put_job(server, "jobs/ready", {"source_type": "image", "source": {"image": "repo/img:1"}})
        environment = {"WANDB_BASE_URL": server.server.url, "WANDB_API_KEY": KEY}
        done = run("team/jobs/train:latest", **environment)
        assert "python:3.10-slim" in done.stdout
        assert 'ENTRYPOINT ["python", "train.py"]' in done.stdout
        ready = run("team/jobs/ready", **environment)
        assert (ready.stdout, "repo/img:1: nothing is built" in ready.stderr) == ("", True)
        assert "no job or artifact" in run("team/jobs/none", code=3, **environment).stderr
    finally:
        server.close()
