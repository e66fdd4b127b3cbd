"""The roles for Google Cloud are enough for what the agent does, and without any one right they are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.config import load
from launch_agent.errors import RunnerError
from launch_agent.permissions import Document, Needs, gcp
from launch_agent.runners import examine
from launch_agent.runners.vertex.run import CustomJob
from launch_agent.spec.model import RunState
from tests.contracts.runner import end_of
from tests.fakes.custom_jobs import CustomJobs
from tests.fakes.eventually import eventually
from tests.fakes.google_tokens import GoogleTokens
from tests.runners.vertex.bench import VertexBench

EXAMPLES = Path(__file__).parents[2] / "examples" / "queue-configs"
GAR = "europe-west4-docker.pkg.dev/my-project/ml/jobs"


def printed(
    tmp_path: Path,
    text: str = "",
    *,
    queues: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Document]:
    """The documents by name. Without `queues` there is none of Vertex AI."""
    file = tmp_path / "launch-config.yaml"
    start = "queues: [q]\nenvironment: {type: gcp, region: europe-west4, project: my-project}\n"
    file.write_text(start + text)
    config = load.load(file, {"WANDB_API_KEY": "k" * 40, "HOME": str(tmp_path)})
    resources = frozenset() if queues is None else frozenset({"vertex"})
    needs = Needs(config=config, resources=resources, queues={"vertex": queues or ()})
    return {document.name: document for document in gcp.documents(needs)}


def permissions(document: Document) -> list[str]:
    return list(document.body["includedPermissions"])


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleTokens]:
    with GoogleTokens(tmp_path) as made:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(made.key_file))
        yield made


@pytest.fixture
def server() -> Iterator[CustomJobs]:
    with CustomJobs(token="ya29.") as made:
        yield made


@pytest.fixture
def desk(server: CustomJobs, tokens: GoogleTokens, tmp_path: Path) -> Iterator[VertexBench]:
    made = VertexBench(server, tokens, tmp_path)
    yield made
    made.close()


def everything(server: CustomJobs, desk: VertexBench) -> None:
    """All that an agent asks of Vertex AI in the life of a job."""
    runner = desk.runner(keep=False)
    runner.verify()
    run = runner.submit(desk.request())
    assert isinstance(run, CustomJob)
    server.logs[run.name] = ["hello"]
    assert run.logs(10) == "hello\n"
    (found,) = desk.runner(keep=False).adopt(desk.agent)
    found.cancel()
    eventually(lambda: server.jobs[run.name]["state"] == "JOB_STATE_CANCELLING", within=3)
    server.set_state(run.name, "CANCELLED")
    run.look()
    assert end_of(run).state is RunState.STOPPED
    run.release()
    assert not server.jobs


def rights(documents: Mapping[str, Document]) -> frozenset[str]:
    return frozenset(name for part in ("custom-jobs", "run-as") for name in permissions(documents[part]))


@pytest.mark.req("VTX-1", "CON-36")
def test_what_is_printed_is_enough(server: CustomJobs, desk: VertexBench, tmp_path: Path) -> None:
    server.allowed = rights(printed(tmp_path, "runner: {vertex: {keep: false}}\n", queues=[]))
    everything(server, desk)


RIGHTS = [
    "aiplatform.customJobs.create",
    "aiplatform.customJobs.list",
    "aiplatform.customJobs.get",
    "aiplatform.customJobs.delete",
    "iam.serviceAccounts.actAs",
    "logging.logEntries.list",
]


@pytest.mark.req("VTX-1", "CON-36")
@pytest.mark.parametrize("name", RIGHTS)
def test_without_any_one_of_them_it_is_not_and_that_one_is_named(
    server: CustomJobs, desk: VertexBench, tmp_path: Path, name: str
) -> None:
    full = rights(printed(tmp_path, "runner: {vertex: {keep: false}}\n", queues=[]))
    assert {*RIGHTS, "aiplatform.customJobs.cancel"} == full
    server.allowed = full - {name}
    with pytest.raises(RunnerError) as refused:
        everything(server, desk)
    assert name in refused.value.message
    assert name in refused.value.hint


def test_doctor_names_everything_that_is_missing(
    server: CustomJobs, desk: VertexBench, tmp_path: Path
) -> None:
    full = rights(printed(tmp_path, queues=[]))
    server.allowed = full
    examine(desk.runner(keep=True))
    lacking = {"aiplatform.customJobs.create", "logging.logEntries.list"}
    server.allowed = full - lacking
    with pytest.raises(RunnerError) as missing:
        examine(desk.runner(keep=True))
    assert all(name in missing.value.message for name in lacking)
    assert "launch-agent permissions" in missing.value.hint
    server.allowed = full
    desk_without = desk.runner(keep=True)
    desk_without.service._endpoints = {**desk.endpoints, "cloudresourcemanager": "http://127.0.0.1:1"}
    examine(desk_without)


def test_a_stop_that_is_not_allowed_is_said_and_tried_again(
    server: CustomJobs, desk: VertexBench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = rights(printed(tmp_path, queues=[]))
    server.allowed = full - {"aiplatform.customJobs.cancel"}
    run = desk.runner().submit(desk.request())
    assert isinstance(run, CustomJob)
    run.cancel()
    eventually(lambda: "allow the agent's account aiplatform.customJobs.cancel" in caplog.text)
    server.allowed = full
    eventually(lambda: server.jobs[run.name]["state"] == "JOB_STATE_CANCELLING")


@pytest.mark.req("VTX-4", "VTX-5", "VTX-6", "CON-22", "CON-36")
def test_the_documents_list_is_kept_and_what_is_checked_is_added_as_ours(tmp_path: Path) -> None:
    """Both older pages have it, the newer page has none and takes nothing back."""
    found = printed(tmp_path, queues=[])
    theirs = found["as-documented"]
    assert permissions(theirs) == ["ml.jobs.create", "ml.jobs.list", "ml.jobs.get"]
    assert [grant.requirement for grant in theirs.grants] == ["VTX-4", "VTX-5", "VTX-6"]
    ours = found["custom-jobs"]
    assert not any(grant.requirement for grant in ours.grants)
    assert all(grant.name.startswith(("aiplatform.", "logging.")) for grant in ours.grants)
    assert "aiplatform.customJobs.delete" not in permissions(ours)


@pytest.mark.req("VTX-2", "VTX-3")
def test_the_bucket_of_the_queue_has_the_rights_of_a_context_store(tmp_path: Path) -> None:
    queues = [yaml.safe_load(file.read_text()) for file in sorted(EXAMPLES.glob("vertex*.yaml"))]
    document = printed(tmp_path, queues=queues)["staging-bucket"]
    expected = [
        "storage.buckets.get",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
    ]
    assert permissions(document) == expected
    assert {grant.on for grant in document.grants} == {"gs://my-bucket"}
    assert {grant.requirement for grant in document.grants} == {"VTX-3"}
    (placeholder,) = {grant.on for grant in printed(tmp_path, queues=[])["staging-bucket"].grants}
    assert placeholder == "gs://<BUCKET-NAME>"


@pytest.mark.req("GAR-6", "GAR-7", "GAR-8", "GAR-9", "GCS-2", "GCS-3", "GCS-4", "GCS-5")
def test_repository_and_contexts_have_the_documents_permissions(tmp_path: Path) -> None:
    text = f"builder: {{type: kaniko, destination: {GAR}, build-context-store: 'gs://contexts/x'}}\n"
    found = printed(tmp_path, text)
    assert set(found) == {"push-images", "build-contexts"}
    assert permissions(found["push-images"]) == [
        "artifactregistry.dockerimages.list",
        "artifactregistry.repositories.downloadArtifacts",
        "artifactregistry.repositories.list",
        "artifactregistry.repositories.uploadArtifacts",
    ]
    assert {grant.on for grant in found["push-images"].grants} == {
        "europe-west4-docker.pkg.dev/my-project/ml"
    }
    names = [(grant.name, bool(grant.requirement)) for grant in found["build-contexts"].grants]
    assert names == [
        ("storage.buckets.get", True),
        ("storage.objects.create", True),
        ("storage.objects.delete", True),
        ("storage.objects.get", True),
        ("storage.objects.list", False),
    ]


def test_an_address_that_is_lent_has_to_be_signed(tmp_path: Path) -> None:
    start = f"builder: {{type: buildkit, destination: {GAR}"
    lent = printed(tmp_path, f"{start}, build-context-store: 'gs://contexts'}}\n")["build-contexts"]
    assert "iam.serviceAccounts.signBlob" in permissions(lent)


def test_jobs_run_as_the_accounts_that_queues_name(tmp_path: Path) -> None:
    named = yaml.safe_load((EXAMPLES / "vertex-spot.yaml").read_text())
    bare = yaml.safe_load((EXAMPLES / "vertex.yaml").read_text())
    trainer = "trainer@my-project.iam.gserviceaccount.com"
    alone = printed(tmp_path, queues=[named])["run-as"]
    assert [grant.on for grant in alone.grants] == [trainer]
    both = printed(tmp_path, queues=[named, bare])["run-as"]
    assert [grant.on for grant in both.grants] == [
        trainer,
        "<PROJECT-NUMBER>-compute@developer.gserviceaccount.com",
    ]


def test_a_key_of_ones_own_is_for_the_service_agent(tmp_path: Path) -> None:
    queue = yaml.safe_load((EXAMPLES / "vertex-many-machines.yaml").read_text())
    notes = " ".join(printed(tmp_path, queues=[queue])["job-account"].notes)
    assert "roles/cloudkms.cryptoKeyEncrypterDecrypter on projects/my-project" in notes


def test_what_has_no_part_in_google_cloud_needs_nothing(tmp_path: Path) -> None:
    assert printed(tmp_path, "") == {}
