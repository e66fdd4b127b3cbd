"""The config's `git` reaches whatever fetches a job's repository, from a real server over SSH."""

from __future__ import annotations

import io
import os
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.config import load
from launch_agent.control import building
from launch_agent.control.builder_choice import BuilderChoice
from launch_agent.errors import SourceError
from launch_agent.spec.model import RunIdentity, RunSpec
from tests.fakes import git_servers
from tests.fakes.git_servers import Repository, SshServer
from tests.fakes.own_artifacts import put_job
from tests.fakes.own_server import KEY, OwnServer


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshServer]:
    (tmp_path / "git").mkdir()
    try:
        with git_servers.ssh_server(tmp_path / "sshd", tmp_path / "git") as server:
            yield server
    except git_servers.NoServer as error:
        pytest.skip(str(error))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path / "server")
    yield made
    made.close()


def files_of(server: OwnServer, job: str, folder: Path, git: str) -> set[str]:
    """The files that a run of the job gets, by an agent whose config has this `git`."""
    home = folder / uuid.uuid4().hex
    home.mkdir()
    text = f"queues: [q]\nbase_url: {server.server.url}\nbuilder: {{type: noop, base-image: 'base:1'}}\n{git}"
    (home / "launch-config.yaml").write_text(text)
    config = load.load(home, {"WANDB_API_KEY": KEY, "HOME": str(home)})
    http = HttpClient(HttpSettings())
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    images = building.images(config, BuilderChoice(type="noop", why="a test"), http, environment)
    spec = RunSpec(entity="team", project="jobs", resource="local-container", job=job)
    identity = RunIdentity(
        agent="a", item_id="i", queue="q", queue_entity="team", run_id="r", entity="team", project="jobs"
    )
    try:
        made = images.of(spec, identity, is_stopped=lambda: False)
        assert made.code is not None
        assert made.code.pack is not None
        with tarfile.open(fileobj=io.BytesIO(b"".join(made.code.pack("code")))) as tar:
            names = {member.name for member in tar if member.isfile()}
        made.release()
        return names
    finally:
        images.close()
        http.close()


@pytest.mark.req("GIT-1", "GIT-2", "GIT-3")
def test_keys_known_hosts_and_submodules_come_of_the_config(
    server: OwnServer, ssh: SshServer, tmp_path: Path
) -> None:
    inner, outer = (Repository(ssh.root / f"{name}.git") for name in ("inner", "outer"))
    inner.commit({"inner.py": "in"})
    outer.commit({"train.py": ""})
    outer.git("submodule", "--quiet", "add", str(inner.path), "lib")
    outer.git("config", "-f", ".gitmodules", "submodule.lib.url", "../inner.git")
    commit = outer.commit({"a": "1"})
    source = {"git": {"remote": ssh.url("outer.git"), "commit": commit}, "entrypoint": ["python", "train.py"]}
    put_job(server, "jobs/outer", {"source_type": "repo", "source": source})
    own = f"ssh-keys: {{'127.0.0.1': {ssh.key}}}, known-hosts: {ssh.known_hosts}"
    job = "team/jobs/outer:latest"
    plain = files_of(server, job, tmp_path, f"git: {{{own}}}\n")
    assert plain == {"code/train.py", "code/a", "code/.gitmodules"}
    whole = files_of(server, job, tmp_path, f"git: {{{own}, submodules: true}}\n")
    assert whole == plain | {"code/lib/inner.py"}
    with pytest.raises(SourceError, match="host key is not known"):
        files_of(server, job, tmp_path, f"git: {{ssh-keys: {{'127.0.0.1': {ssh.key}}}}}\n")
    with pytest.raises(SourceError, match=r"did not end within 0\.001 s"):
        files_of(server, job, tmp_path, f"git: {{{own}, timeout: 0.001}}\n")
