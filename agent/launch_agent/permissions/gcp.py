"""Permissions of Google Cloud, as custom roles: for the repository, the build contexts, the custom jobs.

The product's documents name permissions of AI Platform (`ml.jobs.*`), Vertex AI's predecessor; Vertex AI asks
for others. The documents' own stay a role of their own, and what the agent's requests need stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from launch_agent.config.destination import parse
from launch_agent.permissions import Cloud, Document, Grant, Needs
from launch_agent.spec import vertex

_REPOSITORY: Mapping[str, tuple[str, str]] = {
    "artifactregistry.dockerimages.list": ("see which images there are", "GAR-6"),
    "artifactregistry.repositories.downloadArtifacts": (
        "see whether an image is there, and read it",
        "GAR-7",
    ),
    "artifactregistry.repositories.list": ("find the repository", "GAR-8"),
    "artifactregistry.repositories.uploadArtifacts": ("push", "GAR-9"),
}
_BUCKET: Mapping[str, tuple[str, str]] = {
    "storage.buckets.get": ("see that the bucket is there", "GCS-2"),
    "storage.objects.create": ("put objects", "GCS-3"),
    "storage.objects.delete": ("delete what is no longer needed", "GCS-4"),
    "storage.objects.get": ("read objects", "GCS-5"),
}
_OF_THE_DOCUMENTS: Mapping[str, tuple[str, str]] = {
    "ml.jobs.create": ("start jobs, on AI Platform", "VTX-4"),
    "ml.jobs.list": ("list jobs, on AI Platform", "VTX-5"),
    "ml.jobs.get": ("follow jobs, on AI Platform", "VTX-6"),
}
_JOBS: Mapping[str, str] = {
    "aiplatform.customJobs.create": "start jobs",
    "aiplatform.customJobs.list": "see what all jobs are doing at once, and find them again after a restart",
    "aiplatform.customJobs.get": "learn why a job failed",
    "aiplatform.customJobs.cancel": "stop a job that its user has stopped",
}
_DEFAULT_ACCOUNT = "<PROJECT-NUMBER>-compute@developer.gserviceaccount.com"


def documents(needs: Needs) -> list[Document]:
    """The roles that a config needs; empty for what has no part in Google Cloud."""
    return list(_documents(needs))


def _documents(needs: Needs) -> Iterator[Document]:
    builder = needs.config.builder
    if builder.registry == "gar":
        yield _push(builder.destination)
    store = str(builder.options.get("build-context-store", ""))
    if store.startswith("gs://"):
        signs = builder.type == "buildkit" and not builder.options.get("buildkit-address")
        yield _contexts(urlsplit(store).netloc, signs=signs)
    if vertex.RESOURCE in needs.resources:
        queues = [vertex.flat(queue) for queue in needs.settings(vertex.RESOURCE)]
        environment = needs.config.environment
        project = (environment.type == "gcp" and environment.project) or "<PROJECT>"
        keeps = bool(needs.config.runner.get(vertex.RESOURCE, {}).get("keep", True))
        yield _jobs(project, keeps=keeps)
        yield _run_as(queues)
        yield from _staging(queues)
        yield _as_documented(project)
        yield _job_account(queues)


def _role(title: str, description: str, permissions: Sequence[str]) -> dict[str, Any]:
    """A role as `gcloud iam roles create … --file` reads it."""
    return {
        "title": title,
        "description": description,
        "stage": "GA",
        "includedPermissions": list(permissions),
    }


def _grants(table: Mapping[str, tuple[str, str]], on: str) -> list[Grant]:
    return [Grant(name=name, on=on, why=why, requirement=number) for name, (why, number) in table.items()]


def _push(destination: str) -> Document:
    found = parse(destination)
    host, _, path = found.uri.partition("/")
    on = f"{host}/{'/'.join(path.split('/')[:2])}"
    return Document(
        cloud=Cloud.GCP,
        name="push-images",
        purpose="for the agent's account, and for that of its build pods, on the repository",
        body=_role("Launch agent: images", f"Pushes to {on}.", list(_REPOSITORY)),
        grants=_grants(_REPOSITORY, on),
        notes=["The predefined role roles/artifactregistry.writer holds these, but for more than one agent."],
    )


def _contexts(bucket: str, *, signs: bool) -> Document:
    on = f"gs://{bucket}"
    grants = _grants(_BUCKET, on)
    grants.append(Grant(name="storage.objects.list", on=on, why="find contexts that were left"))
    if signs:
        why = "lend the build's pod an address of its context; on the agent's own account"
        grants.append(Grant(name="iam.serviceAccounts.signBlob", on="<AGENT-ACCOUNT>", why=why))
    names = [grant.name for grant in grants]
    return Document(
        cloud=Cloud.GCP,
        name="build-contexts",
        purpose="for the agent's account, and for that of its build pods, on the bucket",
        body=_role("Launch agent: build contexts", f"Keeps build contexts in {on}.", names),
        grants=grants,
    )


def _jobs(project: str, *, keeps: bool) -> Document:
    on = f"projects/{project}"
    grants = [Grant(name=name, on=on, why=why) for name, why in _JOBS.items()]
    if not keeps:
        why = "delete jobs once their end was reported (runner.vertex.keep: false)"
        grants.append(Grant(name="aiplatform.customJobs.delete", on=on, why=why))
    grants.append(Grant(name="logging.logEntries.list", on=on, why="show what a failed job printed last"))
    return Document(
        cloud=Cloud.GCP,
        name="custom-jobs",
        purpose="for the agent's account, on the project, where a queue is of the type vertex",
        body=_role(
            "Launch agent: custom jobs", "Starts and follows custom jobs.", [grant.name for grant in grants]
        ),
        grants=grants,
        notes=["An addition of ours: these are what Vertex AI asks for when the agent's requests arrive."],
    )


def _run_as(queues: Sequence[Mapping[str, Any]]) -> Document:
    accounts = _named([queue.get("serviceAccount") for queue in queues])
    if not accounts or any(not queue.get("serviceAccount") for queue in queues):
        accounts.append(_DEFAULT_ACCOUNT)
    name = "iam.serviceAccounts.actAs"
    return Document(
        cloud=Cloud.GCP,
        name="run-as",
        purpose="for the agent's account, on each service account that jobs run as",
        body=_role("Launch agent: run jobs as", "Starts jobs that run as a service account.", [name]),
        grants=[
            Grant(name=name, on=account, why="start jobs that run as this account") for account in accounts
        ],
        notes=[
            "The predefined role roles/iam.serviceAccountUser holds it. Jobs whose queue names no "
            "service_account run as the project's default account for Compute Engine."
        ],
    )


def _staging(queues: Sequence[Mapping[str, Any]]) -> Iterator[Document]:
    buckets = _buckets(queues)
    yield Document(
        cloud=Cloud.GCP,
        name="staging-bucket",
        purpose="for the agent's account, on the bucket that queues of the type vertex name",
        body=_role("Launch agent: staging bucket", "Uses the bucket of custom jobs.", list(_BUCKET)),
        grants=[
            Grant(name=name, on=bucket, why=f"{why}, for jobs on Vertex AI", requirement="VTX-3")
            for bucket in buckets
            for name, (why, _) in _BUCKET.items()
        ],
        notes=["The documents ask for the permissions of a context store on this bucket too."],
    )


def _as_documented(project: str) -> Document:
    return Document(
        cloud=Cloud.GCP,
        name="as-documented",
        purpose="the documents' own list for Vertex AI, kept for those who check against it",
        body=_role("Launch agent: AI Platform jobs", "The documents' list.", list(_OF_THE_DOCUMENTS)),
        grants=_grants(_OF_THE_DOCUMENTS, f"projects/{project}"),
        notes=[
            "These are permissions of AI Platform, Vertex AI's predecessor. No request of this agent is "
            "checked against them; custom-jobs holds what is."
        ],
    )


def _job_account(queues: Sequence[Mapping[str, Any]]) -> Document:
    """What the account of the jobs themselves needs, and the service agent of Vertex AI."""
    reads = ("storage.objects.create", "storage.objects.get", "storage.objects.list")
    grants = [
        Grant(name=name, on=bucket, why="read inputs and store results")
        for bucket in _buckets(queues)
        for name in reads
    ]
    why = "keep what jobs print"
    grants.append(Grant(name="logging.logEntries.create", on="the project", why=why))
    agent = "service-<PROJECT-NUMBER>@gcp-sa-aiplatform.iam.gserviceaccount.com"
    notes = [
        f"Images are pulled by the service agent {agent}: give it roles/artifactregistry.reader on a "
        "repository of another project, and roles/aiplatform.serviceAgent where somebody took it away."
    ]
    for queue in queues:
        encryption = queue.get("encryptionSpec") or {}
        named = queue.get("encryptionSpecKeyName") or encryption.get("kmsKeyName")
        if key := named or encryption.get("kms_key_name"):
            notes.append(f"It also needs roles/cloudkms.cryptoKeyEncrypterDecrypter on {key}.")
    return Document(
        cloud=Cloud.GCP,
        name="job-account",
        purpose="for the service account that jobs run as",
        body=_role(
            "Launch agent: jobs",
            "What custom jobs need.",
            list(dict.fromkeys(grant.name for grant in grants)),
        ),
        grants=grants,
        notes=list(dict.fromkeys(notes)),
    )


def _buckets(queues: Sequence[Mapping[str, Any]]) -> list[str]:
    places: list[Any] = []
    for queue in queues:
        output = queue.get("baseOutputDirectory") or {}
        places += [queue.get(vertex.STAGING), queue.get(vertex.FOLDER)]
        places += [item for key, item in output.items() if vertex.camel(str(key)) == "outputUriPrefix"]
    names = [place.removeprefix("gs://").partition("/")[0] for place in _named(places)]
    known = dict.fromkeys(f"gs://{name}" for name in names if not vertex.is_open(name))
    return list(known) or ["gs://<BUCKET-NAME>"]


def _named(values: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(value for value in values if isinstance(value, str) and value))
