"""Jobs and their code as the backend keeps them: artifacts, by name or by id.

A job is an artifact of its own (`resolve`), whose `wandb-job.json` says where its code is: in a repository,
in another artifact (`create` makes its `Source`), or in a ready image. Every file is checked against the
manifest, and the manifest against the artifact's digest.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from launch_agent.errors import SourceError, SourceNotFound
from launch_agent.sources import Checkout
from launch_agent.sources.artifact.backend import Backend
from launch_agent.sources.artifact.download import Download
from launch_agent.sources.artifact.manifest import Manifest, Name
from launch_agent.spec import job as job_file
from launch_agent.spec.job import Job

__all__ = ["Backend", "create", "resolve"]

# Seconds for everything, as for a repository; bytes of all files together.
TIMEOUT = 900.0
LARGEST = 20 * 1024**3
_LARGEST_OF_JOB = 16 * 1024**2


def resolve(
    job: str, backend: Backend, *, timeout: float = TIMEOUT, stop: threading.Event | None = None
) -> Job:
    """What the job `entity/project/name:alias` is. Raises SourceError, SourceNotFound, SourceDenied."""
    name = Name.parse(job)
    found = backend.by_name(name)
    if found.type != "job":
        raise SourceError(f"{job} is an artifact of type {found.type!r}, not a job", hint="submit a job")
    wanted = (job_file.FILE, job_file.FROZEN, job_file.PATCH)
    manifest = Manifest.read(backend.manifest(found), found, largest=_LARGEST_OF_JOB)
    if job_file.FILE not in manifest.entries:
        raise SourceNotFound(f"the job {found.name} has no {job_file.FILE}", hint="create the job anew")
    files = _download(backend, stop, timeout).in_memory(found, manifest, wanted)
    try:
        raw = json.loads(files[job_file.FILE])
    except (ValueError, RecursionError) as error:
        raise SourceError(f"the {job_file.FILE} of the job {found.name} is not JSON: {error}") from error
    return job_file.parse(
        raw,
        name=str(found.name),
        frozen=files.get(job_file.FROZEN, b""),
        patch=files.get(job_file.PATCH, b""),
    )


def create(
    reference: str,
    *,
    backend: Backend,
    largest: int = LARGEST,
    timeout: float = TIMEOUT,
    stop: threading.Event | None = None,
) -> ArtifactSource:
    """The code in the artifact `wandb-artifact://_id/<id>`, or `entity/project/name:alias` with or without
    the scheme. `largest` is in bytes. Raises SourceError for what is neither."""
    return ArtifactSource(reference, backend, largest, timeout, stop)


class ArtifactSource:
    """Fetches all files of an artifact; a `Source`."""

    def __init__(
        self, reference: str, backend: Backend, largest: int, timeout: float, stop: threading.Event | None
    ) -> None:
        text = reference.removeprefix("wandb-artifact://")
        self._id = text.removeprefix("_id/") if text.startswith("_id/") else ""
        self._name = None if self._id else Name.parse(text)
        if self._id and not self._id.isprintable():
            raise SourceError(f"{reference[:100]!r} is not the id of an artifact")
        self._backend = backend
        self._largest = largest
        self._timeout = timeout
        self._stop = stop

    def fetch(self, into: Path) -> Checkout:
        """Put the files into an empty folder. Raises SourceError, SourceNotFound, SourceDenied."""
        found = self._backend.by_id(self._id) if self._name is None else self._backend.by_name(self._name)
        manifest = Manifest.read(self._backend.manifest(found), found, largest=self._largest)
        _download(self._backend, self._stop, self._timeout).into(into, found, manifest)
        return Checkout(
            id=manifest.content,
            directory=into,
            revision=str(found.name),
            origin=f"wandb-artifact://{found.name}",
        )


def _download(backend: Backend, stop: threading.Event | None, timeout: float) -> Download:
    return Download(backend, timeout=timeout, stop=stop or threading.Event())
