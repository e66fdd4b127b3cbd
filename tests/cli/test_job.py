"""`job create`, `job list`, and `submit` of code, against the embedded server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.sources import artifact
from launch_agent.spec.job import Job, SourceKind
from launch_agent.spec.secret import Secret
from tests.contracts.queue_client import ENTITY, registration
from tests.fakes import git_servers
from tests.fakes.command import Ran, command
from tests.fakes.git_servers import HttpsServer, Repository
from tests.fakes.own_server import KEY, OwnServer

Run = Callable[..., Ran]
PYTHON = ("-E", "python train.py")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path / "server", "q")
    yield made
    made.close()


@pytest.fixture
def run(world: OwnServer, tmp_path: Path) -> Run:
    env = {
        "WANDB_BASE_URL": world.server.url,
        "WANDB_API_KEY": KEY,
        "WANDB_PROJECT": "vision",
        "HOME": str(tmp_path),
    }
    return lambda *args, **more: command(*args, env={**env, **more})


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    (folder / "lib").mkdir(parents=True)
    (folder / "train.py").write_text("print(1)\n")
    (folder / "requirements.txt").write_text("numpy\n")
    (folder / "lib" / "a.py").write_text("A = 1\n")
    return folder


@pytest.fixture
def https(tmp_path: Path) -> Iterator[HttpsServer]:
    (tmp_path / "git").mkdir()
    try:
        with git_servers.https_server(tmp_path / "etc", tmp_path / "git") as server:
            yield server
    except git_servers.NoServer as error:
        pytest.skip(str(error))


class Kept:
    """What the backend keeps of a job, as an agent reads it."""

    def __init__(self, world: OwnServer) -> None:
        self._http = HttpClient(HttpSettings())
        self._backend = artifact.Backend(world.server.url, Secret(KEY), self._http)

    def job(self, name: str) -> Job:
        return artifact.resolve(name, self._backend)

    def files(self, name: str, into: Path) -> set[str]:
        into.mkdir()
        artifact.create(self.job(name).artifact, backend=self._backend).fetch(into)
        return {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()}

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def kept(world: OwnServer) -> Iterator[Kept]:
    made = Kept(world)
    yield made
    made.close()


def created(run: Run, *arguments: str) -> str:
    made = run("job", "create", *arguments, "--format", "json")
    assert made.code == 0, made.err
    return str(made.json()["job"])


@pytest.mark.req("JOB-1", "JOB-8")
def test_a_folder_becomes_a_job_and_its_change_a_version(
    run: Run, kept: Kept, code: Path, tmp_path: Path
) -> None:
    made = run("job", "create", "code", str(code), *PYTHON, "-r", "3.12", "-a", "best")
    assert (made.code, made.out) == (0, f"job {ENTITY}/vision/job-code_train.py:v0 is created\n")
    assert "packages come from requirements.txt" in made.err
    name = f"{ENTITY}/vision/job-code_train.py:best"
    job = kept.job(name)
    assert (job.kind, job.runtime, job.entry_point) == (SourceKind.ARTIFACT, "3.12", ("python", "train.py"))
    assert job.frozen == b"numpy\n"
    assert kept.files(name, tmp_path / "out") == {"train.py", "requirements.txt", "lib/a.py"}
    again = run("job", "create", "code", str(code), *PYTHON, "-r", "3.12")
    assert "v0 is there already: nothing has changed" in again.out
    (code / "train.py").write_text("print(2)\n")
    assert "v1 is a new version" in run("job", "create", "code", str(code), *PYTHON, "-r", "3.12").out
    listed = run("job", "list").out.splitlines()
    assert [line.split()[:3] for line in listed] == [
        ["JOB", "VERSION", "ALIASES"],
        ["job-code_train.py", "v1", "latest"],
        ["job-code_train.py", "v0", "best"],
    ]
    assert [each["version"] for each in run("job", "list", "--format", "json").json()] == [1, 0]


def test_what_is_left_out_stays_here(run: Run, kept: Kept, code: Path, tmp_path: Path) -> None:
    for name in (".git/config", "lib/__pycache__/a.pyc", "wandb/run/log", "data/big.bin", "data/kept.txt"):
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text("x")
    (code / ".wandbignore").write_text("data\n!data/kept.txt\n")
    (code / "link.py").symlink_to("train.py")
    name = created(run, "code", str(code), *PYTHON)
    assert kept.files(name, tmp_path / "out") == {
        "train.py", "requirements.txt", "lib/a.py", ".wandbignore", "data/kept.txt", "link.py",
    }  # fmt: skip
    assert (tmp_path / "out" / "link.py").read_text() == "print(1)\n"


def test_paths_within_the_code_are_the_jobs(run: Run, kept: Kept, code: Path) -> None:
    (code / "lib" / "Dockerfile.gpu").write_text("FROM scratch\n")
    (code / "lib" / "runtime.txt").write_text("python-3.13.1\n")
    job = kept.job(created(run, "code", str(code), "-n", "gpu", "-b", "lib", "-D", "Dockerfile.gpu"))
    assert (job.build_context, job.dockerfile, job.runtime) == ("lib", "Dockerfile.gpu", "3.13")
    assert job.entry_point == ()


@pytest.mark.req("JOB-2", "BLD-10")
def test_a_branch_becomes_a_job_of_its_commit(
    run: Run, kept: Kept, https: HttpsServer, tmp_path: Path
) -> None:
    repository = Repository(https.root / "team" / "code.git")
    first = repository.commit({"sub/train.py": "print(1)\n", "sub/.python-version": "3.12.4\n"})
    trusted = {"GIT_SSL_CAINFO": str(https.authority), "PATH": "/usr/bin:/bin"}
    url = https.url("team/code.git")

    def make(*arguments: str) -> Job:
        made = run("job", "create", "git", *arguments, *PYTHON, "--format", "json", **trusted)
        assert made.code == 0, made.err
        return kept.job(made.json()["job"])

    job = make(url, "-b", "sub", "--ref", "main")
    assert (job.kind, job.remote, job.commit) == (SourceKind.REPO, url, first)
    assert (job.build_context, job.runtime) == ("sub", "3.12")
    assert job.name == f"{ENTITY}/vision/job-code_train.py:v0"
    second = repository.commit({"sub/train.py": "print(2)\n"})
    assert make(f"{url}#main:sub").commit == second
    assert make(url, "-b", "sub", "-g", first).commit == first
    told = run(
        "job", "create", "git", https.url("team/code.git", "me:pass@"), *PYTHON, "-b", "sub", **trusted
    )
    assert "the password in the address is not kept" in told.err
    assert "pass@" not in told.err + told.out + kept.job(f"{ENTITY}/vision/job-code_train.py").remote


def test_an_image_becomes_a_job(run: Run, kept: Kept) -> None:
    made = run("job", "create", "image", "registry.example:5000/team/train:1.2", "-E", "python x.py")
    assert made.out == f"job {ENTITY}/vision/job-registry.example_5000_team_train:v0 is created\n"
    job = kept.job(f"{ENTITY}/vision/job-registry.example_5000_team_train:1.2")
    assert (job.kind, job.image) == (SourceKind.IMAGE, "registry.example:5000/team/train:1.2")
    assert job.entry_point == ("python", "x.py")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["code", "ABSENT", *PYTHON], 2, "does not exist"),
        (["code", "CODE/train.py", *PYTHON], 2, "is a file"),
        (["code", "CODE"], 2, "nothing says what it runs"),
        (["code", "CODE", "-E", "python 'x"], 2, "cannot be split into words"),
        (["code", "CODE", *PYTHON, "-r", "python3"], 2, "is no Python version"),
        (["code", "CODE", *PYTHON, "--ref", "main"], 2, "--ref is for jobs from Git"),
        (["code", "CODE", *PYTHON, "-b", "../.."], 2, "is not within the job's code"),
        (["code", "CODE", *PYTHON, "-D", "Dockerfile.no"], 2, "is not a file of the job's code"),
        (["code", "CODE", *PYTHON, "-n", "a/b"], 2, "cannot be named 'a/b'"),
        (["code", "CODE", *PYTHON, "-a", "v1"], 2, "cannot have the alias 'v1'"),
        (["code", "CODE", *PYTHON, "-p", ""], 2, "--project is missing"),
        (["git", "file:///CODE", *PYTHON], 2, "only https and ssh are used"),
        (["git", "https://127.0.0.1:9/x/y", *PYTHON], 3, "the server does not answer"),
        (["image", "UPPER:1"], 2, "is not an image reference"),
        (["image", "x:1", "-D", "Dockerfile"], 2, "--dockerfile is for jobs that are built"),
        (["wheel", "x"], 2, "'wheel' is not one of"),
    ],
)
def test_what_cannot_become_a_job_is_said_once(
    run: Run, code: Path, arguments: list[str], exit_code: int, said: str, tmp_path: Path
) -> None:
    named = [word.replace("CODE", str(code)).replace("ABSENT", str(tmp_path / "no")) for word in arguments]
    done = run("job", "create", *named, PATH="/usr/bin:/bin")
    assert (done.code, said in done.err) == (exit_code, True), done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("link", "said"),
    [("/etc/hostname", "leads out of it"), ("absent", "leads to no file"), ("lib", "leads to no file")],
)
def test_links_that_no_artifact_can_hold(run: Run, code: Path, link: str, said: str) -> None:
    (code / "link").symlink_to(link)
    assert said in run("job", "create", "code", str(code), *PYTHON).err
    (code / ".wandbignore").write_text("link\n")
    assert run("job", "create", "code", str(code), *PYTHON).code == 0


def test_an_empty_folder_is_no_job(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "there are no files" in run("job", "create", "code", str(tmp_path / "empty"), *PYTHON).err


def test_no_job_yet(run: Run, world: OwnServer) -> None:
    assert "no project 'vision'" in run("job", "list").err
    assert run("submit", "-q", "q", "-d", "i").code == 0
    assert run("job", "list", "-p", "model-registry").out.startswith("there is no job;")


@pytest.mark.req("JOB-8")
def test_code_is_submitted_in_one_step(run: Run, world: OwnServer, kept: Kept, code: Path) -> None:
    done = run("submit", "-q", "q", "--code", str(code), *PYTHON, "--name", "first", "--", "--lr", "1")
    assert done.code == 0, done.err
    assert f"job {ENTITY}/vision/job-code_train.py:v0: created" in done.err
    world.client.register(registration("q"))
    (lease,) = world.client.pop(["q"], 1).leases
    assert lease.spec["job"] == f"{ENTITY}/vision/job-code_train.py:v0"
    assert lease.spec["overrides"] == {"args": ["--lr", "1"]}
    assert (lease.spec["name"], lease.spec["project"]) == ("first", "vision")
    assert kept.job(str(lease.spec["job"])).entry_point == ("python", "train.py")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--code", ".", "--git", "https://h/o/r"], "give one of"),
        (["--code", ".", "-d", "image"], "give one of"),
        (["--code", ".", "--ref", "main"], "--ref goes with --git"),
    ],
)
def test_one_source_for_one_submit(run: Run, arguments: list[str], said: str) -> None:
    done = run("submit", "-q", "q", *arguments)
    assert done.code == 2
    assert said in done.err


def test_a_repository_whose_submodules_are_wanted_says_so(
    run: Run, world: OwnServer, https: HttpsServer, code: Path
) -> None:
    inner, outer = (Repository(https.root / f"{name}.git") for name in ("inner", "outer"))
    inner.commit({"inner.py": "in"})
    outer.commit({"Dockerfile.wandb": "FROM scratch\nCOPY lib/inner.py /\n"})
    outer.git("submodule", "--quiet", "add", str(inner.path), "lib")
    outer.git("config", "-f", ".gitmodules", "submodule.lib.url", "../inner.git")
    outer.commit({"a": "1"})
    trust = {"GIT_SSL_CAINFO": str(https.authority), "PATH": "/usr/bin:/bin"}
    kept = Kept(world)
    for name, more, wanted in (("with", ("--submodules",), True), ("as-is", (), None)):
        made = run("job", "create", "git", https.url("outer.git"), "-n", name, *more, **trust)
        assert made.code == 0, made.err
        assert kept.job(f"{ENTITY}/vision/{name}:latest").submodules is wanted
    kept.close()
    refused = run("job", "create", "code", str(code), "--submodules", *PYTHON)
    assert refused.code == 2
    assert "--submodules is for jobs from Git" in refused.err
