"""What an agent hands over is enough to fetch a job's code elsewhere, and no more than that."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from launch_agent.errors import SourceError
from launch_agent.sources import order
from launch_agent.sources.git.access import Access
from launch_agent.sources.git.handover import Handover, hand_over
from launch_agent.sources.git.remote import Remote
from launch_agent.sources.order import Order
from launch_agent.spec.secret import Secret
from tests.fakes.git_servers import PASSWORD, USER, HttpsServer, Repository, SshServer
from tests.fakes.own_artifacts import put_artifact, put_job
from tests.fakes.own_server import KEY, OwnServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path_factory.mktemp("server"))
    yield made
    made.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str


class Elsewhere:
    """A machine that has the program, a certificate authority, and nothing of the agent's."""

    def __init__(self, folder: Path, authority: Path) -> None:
        self.order, self.into, home = folder / "order", folder / "into", folder / "nobody"
        for each in (self.order, self.into, home):
            each.mkdir()
        own = {"HOME": str(home), "TMPDIR": str(home), "SSL_CERT_FILE": str(authority)}
        self.env = {"PATH": os.environ["PATH"], **own}

    def started(self, wanted: Order | Mapping[str, Secret]) -> subprocess.Popen[str]:
        files = order.write(wanted) if isinstance(wanted, Order) else wanted
        for name, text in files.items():
            (self.order / name).write_text(text.reveal())
        words = [sys.executable, "-m", "launch_agent", "fetch", str(self.order), str(self.into)]
        return subprocess.Popen(
            words, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def fetch(self, wanted: Order | Mapping[str, Secret]) -> Ended:
        process = self.started(wanted)
        out, err = process.communicate(timeout=60)
        return Ended(code=process.returncode, out=out, err=err)

    def files(self) -> dict[str, str]:
        root = self.into / "job"
        return {str(each.relative_to(root)): each.read_text() for each in root.rglob("*") if each.is_file()}


@pytest.fixture
def elsewhere(tmp_path: Path, https: HttpsServer) -> Elsewhere:
    return Elsewhere(tmp_path, https.authority)


def git_job(server: OwnServer, remote: str, commit: str = "", **more: object) -> str:
    source = {"git": {"remote": remote, "commit": commit, **more}, "entrypoint": ["python", "train.py"]}
    name = f"git-{os.urandom(4).hex()}"
    put_job(server, f"jobs/{name}", {"source_type": "repo", "source": source, "runtime": "3.11"})
    return f"team/jobs/{name}:v0"


def wanted(server: OwnServer, job: str, git: Handover | None = None, **fields: object) -> Order:
    made = Order(job=job, base_url=server.server.url, api_key=Secret(KEY), git=git or Handover())
    return replace(made, **fields)  # type: ignore[arg-type]  # the tests' own words


def as_the_chart_has_it(folder: Path, https: HttpsServer, ssh: SshServer) -> Access:
    """A user's Git configuration and an ssh command, as they are mounted in the agent's pod."""
    home = folder / "agent"
    home.mkdir()
    login = f"https://{USER}:{PASSWORD.replace('/', '%2F').replace('@', '%40')}"
    host = https.url("").removeprefix("https://").rstrip("/")
    (home / "credentials").write_text(f"{login}@{host}\nhttps://other:secret-of-another@example.com\n")
    helper = f'!f() {{ test \\"$1\\" != get || git credential-store --file {home}/credentials get; }}; f'
    (home / ".gitconfig").write_text(f'[credential]\n    helper = "{helper}"\n')
    (home / "known_hosts").write_text(ssh.known_hosts.read_text() + "other.example ssh-ed25519 AAAAno\n")
    (home / "ssh_config").write_text(
        f"Host 127.0.0.1\n    IdentityFile {ssh.key}\n    IdentitiesOnly yes\n"
        f"Host *\n    UserKnownHostsFile {home}/known_hosts\n    GlobalKnownHostsFile /dev/null\n"
    )
    return Access(
        environment={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "GIT_SSL_CAINFO": str(https.authority),
            "GIT_SSH_COMMAND": f"ssh -F {home}/ssh_config",
        }
    )


@pytest.mark.req("GIT-1", "GIT-2", "GIT-6")
def test_a_private_repository_over_https(
    server: OwnServer, https: HttpsServer, ssh: SshServer, git_root: Path, elsewhere: Elsewhere,
    tmp_path: Path,
) -> None:  # fmt: skip
    repository = Repository(git_root / "private" / "order.git")
    commit = repository.commit({"train.py": "print()", "data/x": "x"})
    remote = https.url("private/order.git")
    git = hand_over(as_the_chart_has_it(tmp_path, https, ssh), Remote.parse(remote))
    assert "secret-of-another" not in git.login.reveal()
    ended = elsewhere.fetch(wanted(server, git_job(server, remote, commit), git))
    assert (ended.code, elsewhere.files()) == (0, {"train.py": "print()", "data/x": "x"}), ended.err
    # Whoever the job runs as can change its code, and leave something beside it.
    assert (elsewhere.into / "job").stat().st_mode & 0o777 == 0o777
    assert (elsewhere.into / "job" / "train.py").stat().st_mode & 0o777 == 0o666
    # Without the login it is denied, and the run is told what to do.
    ended = elsewhere.fetch(
        {**order.write(wanted(server, git_job(server, remote, commit))), "login": Secret("")}
    )
    assert ended.code == 3
    (line,) = ended.err.splitlines()
    assert "does not let us in" in line
    assert "gitCreds" in line  # what to do about it
    assert PASSWORD not in ended.err + ended.out


@pytest.mark.req("GIT-1", "GIT-2", "GIT-3")
def test_a_repository_over_ssh(
    server: OwnServer, https: HttpsServer, ssh: SshServer, repository: Repository, elsewhere: Elsewhere,
    tmp_path: Path,
) -> None:  # fmt: skip
    commit = repository.commit({"train.py": "print()"})
    remote = ssh.url(f"open/{repository.path.name}")
    git = hand_over(as_the_chart_has_it(tmp_path, https, ssh), Remote.parse(remote))
    assert git.key.reveal() == ssh.key.read_text()
    assert git.known_hosts.split() == ssh.known_hosts.read_text().split()
    assert git.check_hosts
    job = git_job(server, remote, commit)
    ended = elsewhere.fetch(wanted(server, job, git))
    assert (ended.code, elsewhere.files()) == (0, {"train.py": "print()"}), ended.err
    ended = elsewhere.fetch(wanted(server, job, replace(git, known_hosts="other.example ssh-ed25519 AAAA\n")))
    assert "host key is not known" in ended.err


def test_the_address_of_scp_is_asked_about_too(https: HttpsServer, ssh: SshServer, tmp_path: Path) -> None:
    access = as_the_chart_has_it(tmp_path, https, ssh)
    assert hand_over(access, Remote.parse(f"{getpass.getuser()}@127.0.0.1:code.git")).key
    strict = replace(access, check_hosts=False)
    assert not hand_over(strict, Remote.parse("git@127.0.0.1:code.git")).check_hosts


def test_who_has_nothing_hands_over_nothing(https: HttpsServer, tmp_path: Path) -> None:
    access = Access(environment={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    for remote in (https.url("open/x.git"), "https://user:word@127.0.0.1/x.git", "git@nowhere.invalid:x.git"):
        found = hand_over(access, Remote.parse(remote))
        assert (found.login, found.key, found.known_hosts) == (Secret(""), Secret(""), "")


@pytest.mark.parametrize("by_job", [True, False])
def test_submodules_come_where_the_job_or_the_agent_asks_for_them(
    server: OwnServer, https: HttpsServer, repository: Repository, git_root: Path, elsewhere: Elsewhere,
    by_job: bool,
) -> None:  # fmt: skip
    inner = Repository(git_root / "open" / f"inner-{by_job}.git")
    inner.commit({"inner.py": "in"})
    repository.git("submodule", "--quiet", "add", str(inner.path), "lib")
    repository.git("config", "-f", ".gitmodules", "submodule.lib.url", f"../inner-{by_job}.git")
    repository.commit({"a": "1"})
    remote = https.url(f"open/{repository.path.name}")
    job = git_job(server, remote, "main", **({"submodules": True} if by_job else {}))
    ended = elsewhere.fetch(wanted(server, job, submodules=not by_job))
    assert ended.code == 0, ended.err
    assert elsewhere.files()["lib/inner.py"] == "in"
    if not by_job:
        return
    unwanted = git_job(server, remote, "main", submodules=False)
    ended = elsewhere.fetch(wanted(server, unwanted, submodules=True))
    assert ended.code == 0, ended.err
    assert "lib/inner.py" not in elsewhere.files()  # the job has the last word, and the old code is gone


def code_job(server: OwnServer, files: Mapping[str, bytes], **source: object) -> str:
    name = f"code-{os.urandom(4).hex()}"
    made = put_artifact(server, f"jobs/source-{name}", files)
    given = {"artifact": f"wandb-artifact://_id/{made}", "entrypoint": ["python", "train.py"], **source}
    put_job(server, f"jobs/{name}", {"source_type": "artifact", "source": given})
    return f"team/jobs/{name}:v0"


def test_an_artifact_and_its_build_context(server: OwnServer, elsewhere: Elsewhere) -> None:
    job = code_job(server, {"train/train.py": b"1", "other": b"2"}, build_context="train")
    ended = elsewhere.fetch(wanted(server, job))
    assert (ended.code, elsewhere.files()) == (0, {"train.py": "1"}), ended.err
    assert sorted(each.name for each in elsewhere.into.iterdir()) == ["job"]


@pytest.mark.parametrize(("source", "said"), [
    ({"build_context": "../../etc"}, "is not within the job's code"),
    ({"build_context": "nowhere"}, "is not a folder of the job's code"),
    ({"notebook": True}, "runs a notebook"),
])  # fmt: skip
def test_what_is_refused(
    server: OwnServer, elsewhere: Elsewhere, source: Mapping[str, object], said: str
) -> None:
    ended = elsewhere.fetch(wanted(server, code_job(server, {"train.py": b"1"}, **source)))
    assert ended.code == 3
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_link_that_leads_out_is_refused(
    server: OwnServer, https: HttpsServer, repository: Repository, elsewhere: Elsewhere
) -> None:
    (repository.work / "way-out").symlink_to("/etc/passwd")
    commit = repository.commit({"train.py": ""})
    ended = elsewhere.fetch(
        wanted(server, git_job(server, https.url(f"open/{repository.path.name}"), commit))
    )
    assert ended.code == 3
    assert "leads out of it" in ended.err
    assert not (elsewhere.into / "job").exists()


def test_a_wrong_key_is_named(server: OwnServer, elsewhere: Elsewhere) -> None:
    job = code_job(server, {"train.py": b"1"})
    ended = elsewhere.fetch(wanted(server, job, api_key=Secret("local-" + "0" * 40)))
    assert ended.code == 3
    assert "HTTP 401" in ended.err


def test_orders_that_cannot_be_read(elsewhere: Elsewhere, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        order.read(tmp_path)
    (tmp_path / "order.json").write_text(json.dumps({"version": 9}))
    with pytest.raises(SourceError, match="version 9"):
        order.read(tmp_path)
    assert elsewhere.fetch({"order.json": Secret("[]")}).code == 3


def test_a_signal_ends_a_fetch_soon(server: OwnServer, elsewhere: Elsewhere) -> None:
    """As of a pod that is deleted: the first process of a container ignores what it does not handle."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        process = elsewhere.started(wanted(server, git_job(server, f"https://127.0.0.1:{port}/x.git")))
        accepted = threading.Event()

        def accept() -> None:
            connection, _ = mute.accept()
            accepted.set()
            connection.settimeout(60)
            with connection:
                while connection.recv(1000):
                    pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        assert accepted.wait(30)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
        thread.join(20)
    assert process.returncode == 3
    assert "was stopped" in err
