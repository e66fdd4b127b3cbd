"""Jobs on the backend: publish one, list those of a project.

A job is an artifact of its own that says where its code is; the code of a folder is another one. Both are
versions of collections, so the same job again is no new version, and a changed one is the next.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from launch_agent.clients.http import Retry
from launch_agent.errors import ConfigError, QueueError
from launch_agent.queues.artifacts import ArtifactWriter, Draft, File
from launch_agent.queues.registration import BRIEF
from launch_agent.queues.session import Session
from launch_agent.spec import job as job_file
from launch_agent.spec.job import Job, SourceKind

log = logging.getLogger(__name__)

# What the backends take; `code-` goes before the name of a job's code.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,123}")
_PROJECT = re.compile(r"[^/\\#?%:\x00-\x1f\x7f]{1,128}")
_ALIAS = re.compile(r"[^/:\x00-\x1f\x7f]{1,128}")
_VERSION = re.compile(r"v\d+")
_RETRY = Retry(attempts=6, budget=15.0)

_RUN = """mutation UpsertBucket($name: String, $project: String, $entity: String, $jobType: String) {
  upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, jobType: $jobType}) {
    bucket { id } } }"""
_DELETE_RUN = "mutation DeleteRun($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
_JOBS = """query ArtifactOfType($entityName: String!, $projectName: String!, $artifactTypeName: String!) {
  project(name: $projectName, entityName: $entityName) { artifactType(name: $artifactTypeName) {
    artifactCollections { edges { node { name artifacts { edges { node {
      state versionIndex createdAt aliases { alias } } } } } } } } } }"""


class Change(StrEnum):
    """What publishing a job did."""

    CREATED = "created"
    UPDATED = "updated"
    NOTHING = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """`name` is `entity/project/name:vN`: what to submit."""

    name: str
    change: Change
    aliases: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """One version of a job. `created_at` is UTC, as the backend gives it."""

    name: str
    version: int
    aliases: Sequence[str] = ()
    created_at: str = ""


class JobStore:
    """The jobs of a session's entity. Every method may raise QueueError."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._graphql = session.graphql

    def publish(
        self,
        job: Job,
        *,
        project: str,
        code: Sequence[File] = (),
        aliases: Sequence[str] = (),
        description: str = "",
    ) -> Published:
        """Put a job there, with the code where it is an artifact. `job.name` is the bare name, and
        `job.artifact` is set here. Raises ConfigError for a name that the backends do not take."""
        _check(job.name, project, aliases)
        with self._hidden_run(project) as run:
            writer = ArtifactWriter(self._session, project=project, run=run)
            if job.kind is SourceKind.ARTIFACT:
                metadata = {"entrypoint": " ".join(job.entry_point)}
                draft = Draft(kind="code", collection=f"code-{job.name}", files=code, metadata=metadata)
                job = replace(job, artifact=f"wandb-artifact://_id/{writer.write(draft).id}")
            written = writer.write(
                Draft(
                    kind="job",
                    collection=job.name,
                    files=_files(job),
                    aliases=aliases,
                    description=description,
                    # The official client's word for a job that no run has been made of yet.
                    metadata={"_partial": True},
                )
            )
        change = Change.CREATED if written.is_first else Change.UPDATED
        return Published(
            name=f"{self._session.entity}/{project}/{job.name}:v{written.version}",
            change=change if written.is_new else Change.NOTHING,
            aliases=tuple(dict.fromkeys([*aliases, "latest"])),
        )

    def jobs(self, project: str) -> list[JobSummary]:
        """Every version, by the job's name and newest first. Raises QueueError where there is no project."""
        entity = self._session.entity
        variables = {"entityName": entity, "projectName": project, "artifactTypeName": "job"}
        found = self._graphql.one("ArtifactOfType", _JOBS, variables, retry=BRIEF)["project"]
        if found is None:
            raise QueueError(
                f"entity {entity!r} has no project {project!r}, or the API key may not see it",
                hint="`launch-agent job create` makes a project with its first job",
            )
        collections = ((found.get("artifactType") or {}).get("artifactCollections") or {}).get("edges") or ()
        versions = [version for edge in collections for version in _versions(edge["node"])]
        return sorted(versions, key=lambda version: (version.name, -version.version))

    @contextmanager
    def _hidden_run(self, project: str) -> Iterator[str]:
        """A run for as long as the block runs: the protocol keeps artifacts as what a run has put out. It
        makes the project, too, where that is not there yet."""
        name = uuid.uuid4().hex[:8]
        variables = {
            "name": name,
            "project": project,
            "entity": self._session.entity,
            "jobType": "cli_create_job",
        }
        made = self._graphql.one("UpsertBucket", _RUN, variables, retry=_RETRY)["upsertBucket"]
        try:
            yield name
        finally:
            run_id = ((made or {}).get("bucket") or {}).get("id")
            try:
                if run_id:
                    self._graphql.one("DeleteRun", _DELETE_RUN, {"id": run_id}, retry=BRIEF)
            except QueueError as error:
                log.warning("the run %s/%s, which held the job's upload, was not removed: %s",
                            project, name, error.message)  # fmt: skip


def _check(name: str, project: str, aliases: Sequence[str]) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"a job cannot be named {name[:140]!r}",
            hint="1 to 123 letters, digits, '_', '-' and '.'",
        )
    if not _PROJECT.fullmatch(project):
        raise ConfigError(
            f"a project cannot be named {project[:140]!r}", hint="1 to 128 characters, none of / \\ # ? % :"
        )
    for alias in aliases:
        if not _ALIAS.fullmatch(alias) or _VERSION.fullmatch(alias):
            raise ConfigError(
                f"a job cannot have the alias {alias[:140]!r}",
                hint="any word of up to 128 characters without / and :, but no version such as v3",
            )


def _files(job: Job) -> list[File]:
    """The list of packages is there even where it is empty: other agents open it without a look."""
    described = json.dumps(job_file.to_json(job), indent=4).encode()
    content = {job_file.FILE: described, job_file.FROZEN: job.frozen}
    if job.patch:
        content[job_file.PATCH] = job.patch
    return [File(path=path, content=data) for path, data in content.items()]


def _versions(collection: Mapping[str, Any]) -> Iterator[JobSummary]:
    for edge in (collection.get("artifacts") or {}).get("edges") or ():
        node = edge["node"]
        if node.get("state", "COMMITTED") != "COMMITTED":
            continue
        yield JobSummary(
            name=collection["name"],
            version=int(node.get("versionIndex") or 0),
            aliases=tuple(sorted(alias["alias"] for alias in node.get("aliases") or ())),
            created_at=node.get("createdAt") or "",
        )
