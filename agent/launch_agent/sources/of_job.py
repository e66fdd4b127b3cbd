"""The source of a job: the one place that knows which kind of job is fetched by which kind of source."""

from __future__ import annotations

import threading

from launch_agent.sources import Source, artifact, git
from launch_agent.sources.git.access import Access
from launch_agent.spec.job import Job, SourceKind


def source_of(
    job: Job,
    *,
    backend: artifact.Backend,
    access: Access,
    submodules: bool = False,
    timeout: float = git.TIMEOUT,
    stop: threading.Event | None = None,
) -> Source | None:
    """What fetches the job's code; None where the job is a ready image (`job.image`).

    `submodules` is for jobs that do not say so themselves; `timeout`, in seconds, is for repositories.

    The job's folder within its code is the build's matter (`images.job`), so everything is fetched. Raises
    SourceError for an address or reference that is not used.
    """
    if job.kind is SourceKind.REPO:
        return git.create(
            job.remote,
            access=access,
            ref=job.commit,
            submodules=submodules if job.submodules is None else job.submodules,
            patch=job.patch,
            timeout=timeout,
            stop=stop,
        )
    if job.kind is SourceKind.ARTIFACT:
        return artifact.create(job.artifact, backend=backend, stop=stop)
    return None
