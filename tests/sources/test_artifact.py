"""Jobs and their code come from the embedded server, whole and checked, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.errors import LaunchError, SourceDenied, SourceError, SourceNotFound
from launch_agent.sources import artifact
from launch_agent.sources.artifact import Backend
from launch_agent.sources.artifact.manifest import Found, Manifest, Name
from launch_agent.spec import job as job_file
from launch_agent.spec.job import SourceKind
from launch_agent.spec.secret import Secret
from tests.fakes.loopback import Loopback, Reply, Request
from tests.fakes.own_artifacts import Entries, entry, put_artifact, put_job
from tests.fakes.own_server import KEY, OwnServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path_factory.mktemp("server"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def http() -> Iterator[HttpClient]:
    client = HttpClient(HttpSettings())
    yield client
    client.close()


@pytest.fixture(scope="module")
def backend(server: OwnServer, http: HttpClient) -> Backend:
    return Backend(server.server.url, Secret(KEY), http)


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


CODE = {"train.py": b"print(1)\n", "lib/deep/a b.py": b"A = 1\n", "empty": b"", "big.bin": bytes(300_000)}


@pytest.mark.req("JOB-1", "JOB-3", "BLD-10")
def test_a_code_job_leads_to_its_files(server: OwnServer, backend: Backend, tmp_path: Path) -> None:
    code = put_artifact(server, "jobs/code-train", CODE)
    source = {
        "artifact": f"wandb-artifact://_id/{code}",
        "entrypoint": ["python", "train.py"],
        "notebook": False,
    }
    described = {"source_type": "artifact", "source": source, "runtime": "3.11", "_version": "v0"}
    put_job(server, "jobs/train", described, requirements_frozen_txt=b"wandb==0.31.0\n")
    job = artifact.resolve("team/jobs/train:latest", backend)
    assert (job.name, job.kind, job.runtime) == ("team/jobs/train:v0", SourceKind.ARTIFACT, "3.11")
    assert job.entry_point == ("python", "train.py")
    assert job.frozen == b"wandb==0.31.0\n"
    found = artifact.create(job.artifact, backend=backend).fetch(tmp_path)
    assert read(found.directory) == CODE
    assert found.origin == "wandb-artifact://team/jobs/code-train:v0"
    (tmp_path / "again").mkdir()
    again = artifact.create("team/jobs/code-train:v0", backend=backend).fetch(tmp_path / "again")
    assert again.id == found.id


@pytest.mark.req("JOB-1", "JOB-4")
def test_jobs_of_the_other_kinds(server: OwnServer, backend: Backend) -> None:
    put_job(server, "jobs/ready", {"source_type": "image", "source": {"image": "repo/img:1"}})
    ready = artifact.resolve("team/jobs/ready", backend)
    assert (ready.kind, ready.image) == (SourceKind.IMAGE, "repo/img:1")
    git = {"remote": "https://git.example/code", "commit": "ab" * 20}
    source = {
        "git": git,
        "entrypoint": "python train.py --x 'a b'",
        "build_context": "sub",
        "dockerfile": None,
    }
    put_job(server, "jobs/tracked", {"source_type": "repo", "source": source}, diff_patch=b"diff")
    tracked = artifact.resolve("team/jobs/tracked:latest", backend)
    assert (tracked.remote, tracked.commit, tracked.patch) == (git["remote"], git["commit"], b"diff")
    assert tracked.entry_point == ("python", "train.py", "--x", "a b")
    assert (tracked.build_context, tracked.dockerfile) == ("sub", "")


def test_what_is_not_there_or_not_a_job(server: OwnServer, backend: Backend, http: HttpClient) -> None:
    put_artifact(server, "jobs/data", {"a": b"1"}, kind="dataset")
    put_artifact(server, "jobs/hollow", {"a": b"1"}, kind="job")
    put_artifact(server, "jobs/broken", {"wandb-job.json": b"{"}, kind="job")
    for name, why, kind in [
        ("team/jobs/nothing:latest", "no job or artifact", SourceNotFound),
        ("team/nowhere/train:latest", "no job or artifact", SourceNotFound),
        ("team/jobs/data:v7", "no job or artifact", SourceNotFound),
        ("team/jobs/data:latest", "'dataset', not a job", SourceError),
        ("team/jobs/hollow:latest", r"no wandb-job\.json", SourceNotFound),
        ("team/jobs/broken:latest", "not JSON", SourceError),
    ]:
        with pytest.raises(kind, match=why):
            artifact.resolve(name, backend)
    with pytest.raises(SourceNotFound, match="no artifact of the id"):
        artifact.create("wandb-artifact://_id/none", backend=backend).fetch(Path("/nonexistent"))
    stranger = Backend(server.server.url, Secret("f0" * 20), http)
    with pytest.raises(SourceDenied):
        artifact.resolve("team/jobs/data:latest", stranger)


@pytest.mark.parametrize(
    "name",
    ["", "train", "jobs/train:v1", "a/b/c/d:v1", "a//c:v1", "a/b/c:x:y", "a/b/c\n:v1", "../b/c:v1 \x00"],
)
def test_names_that_are_none(name: str, backend: Backend) -> None:
    with pytest.raises(SourceError, match="not the name"):
        artifact.resolve(name, backend)


EVIL = ["../x", "/etc/passwd", "a/../../x", "a//b", ".", "..", "./a", "a/./b", "a\\..\\b", "a\nb", "", "a/"]


@pytest.mark.parametrize("path", EVIL)
def test_a_file_that_would_leave_the_folder_is_refused(
    path: str, server: OwnServer, backend: Backend, tmp_path: Path
) -> None:
    changed: Entries = {path: entry(b"evil")}
    made = put_artifact(server, f"jobs/evil-{EVIL.index(path)}", {"ok": b"1"}, changed=changed)
    with pytest.raises(SourceError, match="would not stay in the folder"):
        artifact.create(f"wandb-artifact://_id/{made}", backend=backend).fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_reference_a_missing_file_and_too_much_are_refused(
    server: OwnServer, backend: Backend, tmp_path: Path
) -> None:
    refers: Entries = {"far": {**entry(b""), "ref": "s3://bucket/key"}}
    put_artifact(server, "jobs/refers", {"a": b"1"}, changed=refers)
    with pytest.raises(SourceError, match=r"reference \(s3\)"):
        artifact.create("team/jobs/refers", backend=backend).fetch(tmp_path)
    put_artifact(server, "jobs/lacks", {"a": b"1"}, changed={"b": entry(b"2")})
    with pytest.raises(SourceNotFound, match="does not give: 1, as 'b'"):
        artifact.create("team/jobs/lacks", backend=backend).fetch(tmp_path)
    put_artifact(server, "jobs/large", {"a": bytes(1000)})
    with pytest.raises(SourceError, match="1000 bytes, 999 at most"):
        artifact.create("team/jobs/large", backend=backend, largest=999).fetch(tmp_path)


def test_content_and_manifests_that_were_changed_are_noticed(
    server: OwnServer, http: HttpClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launch_agent.sources.artifact import download

    monkeypatch.setattr(download, "_ATTEMPTS", 1)
    backend = Backend(server.server.url, Secret(KEY), http)
    longer: Entries = {"a": {**entry(b"1"), "size": 2}}
    other: Entries = {"a": entry(b"2")}
    for name, changed in (("longer", longer), ("other", other)):
        made = put_artifact(server, f"jobs/{name}", {"a": b"1"}, changed=changed)
        (tmp_path / name).mkdir()
        with pytest.raises(SourceError, match="not what its manifest says"):
            artifact.create(f"wandb-artifact://_id/{made}", backend=backend).fetch(tmp_path / name)
        assert list((tmp_path / name).iterdir()) == []
    put_artifact(server, "jobs/forged", {"a": b"1"}, digest="0" * 32)
    with pytest.raises(SourceError, match="does not have the artifact's digest"):
        artifact.create("team/jobs/forged", backend=backend).fetch(tmp_path)
    # Of another algorithm only the sizes can be told.
    newer: Entries = {"a": {"digest": "AAAA", "size": 1, "extra": {"alg": "XXH128"}}}
    put_artifact(server, "jobs/newer", {"a": b"1"}, changed=newer)
    (tmp_path / "newer").mkdir()
    assert read(artifact.create("team/jobs/newer", backend=backend).fetch(tmp_path / "newer").directory)


class Odd:
    """A backend of its own kind: redirects to a bucket, fails now and then, and keeps what it was sent."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.failures: dict[str, int] = {}
        self.bucket = Loopback(self._from_bucket)
        self.backend = Loopback(self._answer)

    def close(self) -> None:
        self.bucket.close()
        self.backend.close()

    def _from_bucket(self, request: Request) -> Reply:
        name = request.path.removeprefix("/")
        if self.failures.get(name, 0) > 0:
            self.failures[name] -= 1
            return Reply(status=503)
        return Reply(body=self.files[name]) if name in self.files else Reply(status=404)

    def _answer(self, request: Request) -> Reply:
        if request.path == "/manifest":
            return Reply.of({"contents": {name: entry(data) for name, data in self.files.items()}})
        if request.path.startswith("/to/"):
            return Reply(status=302, headers={"Location": f"{self.bucket.url}/{request.path[4:]}"})
        project: dict[str, Any] = {
            "name": "jobs",
            "entity": {"name": "team"},
        }
        found = {
            "id": "1",
            "digest": "",
            "versionIndex": 4,
            "artifactType": {"name": "code"},
            "artifactSequence": {"name": "code", "project": project},
            "currentManifest": {"file": {"directUrl": "/manifest"}},
        }
        edges = [{"node": {"name": name, "directUrl": f"/to/{name}"}} for name in self.files]
        files = {"pageInfo": {"hasNextPage": False}, "edges": edges}
        return Reply.of(
            {
                "data": {
                    "artifact": found,
                    "project": {"artifactCollection": {"artifactMembership": {"files": files}}},
                }
            }
        )


@pytest.fixture
def odd() -> Iterator[Odd]:
    made = Odd({"a": b"1", "b": b"22"})
    yield made
    made.close()


def test_a_bucket_is_asked_again_and_never_sees_the_key(odd: Odd, http: HttpClient, tmp_path: Path) -> None:
    odd.failures = {"a": 2}
    backend = Backend(odd.backend.url, Secret(KEY), http)
    found = artifact.create("wandb-artifact://_id/1", backend=backend).fetch(tmp_path)
    assert read(found.directory) == odd.files
    assert all("authorization" in request.headers for request in odd.backend.requests)
    assert not any("authorization" in request.headers for request in odd.bucket.requests)
    assert len(odd.bucket.requests) == 4


def test_a_file_that_stays_away_is_one_error(odd: Odd, http: HttpClient, tmp_path: Path) -> None:
    backend = Backend(odd.backend.url, Secret(KEY), http)
    odd.failures = {"a": 99}
    with pytest.raises(SourceError, match="HTTP 503"):
        artifact.create("wandb-artifact://_id/1", backend=backend, timeout=0.5).fetch(tmp_path)


def test_a_stop_ends_a_download(odd: Odd, http: HttpClient, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    backend = Backend(odd.backend.url, Secret(KEY), http)
    with pytest.raises(SourceError, match="was stopped"):
        artifact.create("wandb-artifact://_id/1", backend=backend, stop=stop).fetch(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FOUND = Found(id="1", name=Name(entity="e", project="p", collection="c", alias="v0"), type="code", digest="")


@given(JSON | st.fixed_dictionaries({"contents": st.dictionaries(st.text(max_size=12), JSON, max_size=4)}))
def test_any_manifest_is_read_or_refused_in_words(raw: object) -> None:
    try:
        read_manifest = Manifest.read(raw, FOUND, largest=1000)
    except LaunchError:
        return
    for path in read_manifest.entries:
        assert (Path("/root") / path).resolve().is_relative_to("/root")


SOURCE = st.fixed_dictionaries(
    {},
    optional={
        "git": JSON | st.fixed_dictionaries({"remote": JSON, "commit": JSON}),
        "artifact": JSON, "image": JSON, "entrypoint": JSON, "build_context": JSON, "notebook": JSON,
    },
)  # fmt: skip


@given(
    JSON | st.fixed_dictionaries({"source_type": st.sampled_from(list(SourceKind)) | JSON, "source": SOURCE})
)
def test_any_job_is_read_or_refused_in_words(raw: object) -> None:
    try:
        job = job_file.parse(raw, name="e/p/j:v0")
    except LaunchError:
        return
    assert job.image or job.remote or job.artifact


@pytest.mark.parametrize(
    ("text", "version"),
    [("3.11", "3.11"), ("3.11.7", "3.11"), ("python-3.9.1", "3.9"), ("CPython 3.9", ""),
     ("3.13.0rc1", "3.13"), ("2.7", ""), ("", ""), ("3.11\nRUN x", ""), ("pypy3.10", "")],
)  # fmt: skip
def test_python_versions(text: str, version: str) -> None:
    assert job_file.runtime_of(text) == version
