"""Jobs are published by the protocol's own steps, whatever goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.errors import ConfigError, QueueError, QueueUnavailable, SourceNotFound
from launch_agent.queues import artifacts
from launch_agent.queues.artifacts import File
from launch_agent.queues.jobs import Change, JobStore, Published
from launch_agent.queues.session import Session
from launch_agent.sources import artifact
from launch_agent.spec.job import Job, SourceKind
from launch_agent.spec.secret import Secret
from tests.fakes.fault_proxy import FaultProxy, cut
from tests.fakes.loopback import Reply, Request
from tests.fakes.own_server import ENTITY, KEY, OwnServer

CODE = Job(name="train", kind=SourceKind.ARTIFACT, entry_point=("python", "train.py"), runtime="3.11")
OPERATIONS = (
    "UpsertBucket", "CreateArtifact", "CreateArtifactManifest", "CreateArtifactFiles",
    "UpdateArtifactManifest", "CommitArtifact", "ArtifactByID", "DeleteRun",
)  # fmt: skip
FILES = [File(path="train.py", content=b"print(1)\n"), File(path="lib/empty.py")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path / "server")
    yield made
    made.close()


@pytest.fixture
def session(world: OwnServer) -> Iterator[Session]:
    made = Session(world.server.url, Secret(KEY))
    yield made
    made.close()


@pytest.fixture
def store(session: Session) -> JobStore:
    return JobStore(session)


def publish(store: JobStore, *files: File, **more: Any) -> Published:
    return store.publish(CODE, project="vision", code=files or FILES, **more)


class Reader:
    """What an agent makes of a job."""

    def __init__(self, world: OwnServer) -> None:
        self.http = HttpClient(HttpSettings())
        self.backend = artifact.Backend(world.server.url, Secret(KEY), self.http)

    def job(self, name: str) -> Job:
        return artifact.resolve(name, self.backend)

    def files(self, name: str, into: Path) -> dict[str, bytes]:
        into.mkdir()
        artifact.create(self.job(name).artifact, backend=self.backend).fetch(into)
        return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*.py")}


@pytest.fixture
def reader(world: OwnServer) -> Iterator[Reader]:
    made = Reader(world)
    yield made
    made.http.close()


@pytest.mark.req("JOB-1", "JOB-8")
def test_a_job_has_its_code_and_changed_code_is_its_next_version(
    store: JobStore, reader: Reader, tmp_path: Path
) -> None:
    first = publish(store, aliases=["best"])
    assert first == Published(
        name=f"{ENTITY}/vision/train:v0", change=Change.CREATED, aliases=("best", "latest")
    )
    assert publish(store).change is Change.NOTHING
    changed = publish(store, File(path="train.py", content=b"print(2)\n"))
    assert (changed.name, changed.change) == (f"{ENTITY}/vision/train:v1", Change.UPDATED)
    # The first content again is the first version again, and the latest.
    assert publish(store).name == first.name
    job = reader.job(f"{ENTITY}/vision/train:latest")
    assert (job.name, job.runtime, job.entry_point) == (first.name, "3.11", ("python", "train.py"))
    assert reader.files(first.name, tmp_path / "a") == {"train.py": b"print(1)\n", "lib/empty.py": b""}
    assert reader.files(changed.name, tmp_path / "b") == {"train.py": b"print(2)\n"}
    assert [(each.version, list(each.aliases)) for each in store.jobs("vision")] == [
        (1, []),
        (0, ["best", "latest"]),
    ]


def test_no_run_is_left_of_it(store: JobStore, world: OwnServer) -> None:
    publish(store)
    found = world.backend.query(
        'query($e: String!) { project(name: "vision", entityName: $e) { runs { edges { node { name } } } } }',
        e=ENTITY,
    )
    assert found["project"]["runs"]["edges"] == []


def test_large_files_go_piece_by_piece(store: JobStore, reader: Reader, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(range(256)) * 20_000)
    made = publish(store, File(path="large.py", source=large))
    assert reader.files(made.name, tmp_path / "out")["large.py"] == large.read_bytes()


def test_more_files_than_one_request_asks_for(
    store: JobStore, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "_BATCH", 3)
    files = [File(path=f"m{number}.py", content=str(number).encode()) for number in range(10)]
    made = publish(store, *files)
    assert len(reader.files(made.name, tmp_path / "out")) == 10


def test_answers_that_are_lost_and_stores_that_are_busy_make_no_second_version(world: OwnServer) -> None:
    """Each request is carried out and its answer lost, once; each upload is refused, once."""
    refused: set[str] = set()

    def busy(request: Request, forward: Callable[[], Reply]) -> Reply:
        if request.method == "PUT" and request.path not in refused:
            refused.add(request.path)
            return Reply(status=503, headers={}, body=b"")
        return forward()

    with FaultProxy(world.server.url) as proxy:
        for operation in OPERATIONS:
            proxy.next(cut(), on=operation)
        proxy.always(busy)
        session = Session(proxy.url, Secret(KEY))
        try:
            made = publish(JobStore(session))
        finally:
            session.close()
    assert made.name.endswith(":v0")
    assert len(refused) == 6  # two files of code, two of the job, and a manifest each


def test_a_store_that_refuses_is_told(world: OwnServer) -> None:
    def refuse(request: Request, forward: Callable[[], Reply]) -> Reply:
        return Reply(status=403, headers={}, body=b"no") if request.method == "PUT" else forward()

    with FaultProxy(world.server.url) as proxy:
        proxy.always(refuse)
        session = Session(proxy.url, Secret(KEY))
        try:
            with pytest.raises(QueueError, match=r"uploading .*: 127\.0\.0\.1 answered HTTP 403 no"):
                publish(JobStore(session))
        finally:
            session.close()


def test_an_upload_that_was_cut_off_is_completed_by_the_next(
    world: OwnServer, store: JobStore, reader: Reader, tmp_path: Path
) -> None:
    file = tmp_path / "changing.py"
    file.write_text("before")

    def change(_: Request, forward: Callable[[], Reply]) -> Reply:
        file.write_text("after")
        return forward()

    files = [*FILES, File(path="changing.py", source=file)]
    with FaultProxy(world.server.url) as proxy:
        proxy.next(change, on="CreateArtifactManifest")
        session = Session(proxy.url, Secret(KEY))
        try:
            with pytest.raises(ConfigError, match=r"changing\.py was changed"):
                publish(JobStore(session), *files)
        finally:
            session.close()
    with pytest.raises(SourceNotFound):
        reader.job(f"{ENTITY}/vision/train:latest")
    file.write_text("before")
    made = publish(store, *files)
    assert reader.files(made.name, tmp_path / "out")["changing.py"] == b"before"


@pytest.mark.parametrize(
    ("name", "project", "aliases", "said"),
    [
        ("a/b", "p", (), "cannot be named"),
        ("", "p", (), "cannot be named"),
        ("x" * 124, "p", (), "cannot be named"),
        ("a", "p/q", (), "project cannot be named"),
        ("a", "p", ("v3",), "alias 'v3'"),
        ("a", "p", ("x:y",), "alias 'x:y'"),
    ],
)
def test_a_name_that_no_backend_takes_is_named(
    store: JobStore, name: str, project: str, aliases: tuple[str, ...], said: str
) -> None:
    job = Job(name=name, kind=SourceKind.IMAGE, image="i")
    with pytest.raises(ConfigError, match=said):
        store.publish(job, project=project, aliases=aliases)


def test_a_file_that_cannot_be_read_is_named(store: JobStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reading a\.py: No such file"):
        publish(store, File(path="a.py", source=tmp_path / "absent"))
    with pytest.raises(ConfigError, match="no artifact can have"):
        publish(store, File(path="a\nb.py"))


def test_a_project_that_is_not_there_is_named(store: JobStore) -> None:
    with pytest.raises(QueueError, match="no project 'nothing'"):
        store.jobs("nothing")


def test_a_backend_that_is_not_there_is_named() -> None:
    session = Session("http://127.0.0.1:9", Secret(KEY), entity="team")
    try:
        with pytest.raises(QueueUnavailable, match=r"no answer from http://127\.0\.0\.1:9"):
            JobStore(session).jobs("p")
    finally:
        session.close()
