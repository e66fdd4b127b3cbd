"""Jobs that are code and run without a build: in a ready image, beside which their code is put.

    the job names a base image                          -> that one, whatever the builder
    no builder is active, and queue or config name one  -> that one
    no builder is active, and the queue's pods have one -> they keep it
    else the code is built, or the job refused

On Kubernetes the code is fetched where it runs: all that leaves here is an order. For a Docker engine it is
fetched here, and copied into the container: the engine need not be on this machine.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch_agent.config.model import Git
from launch_agent.errors import Refused, SourceError
from launch_agent.images import job as job_image
from launch_agent.images.job import code_folder
from launch_agent.sources import artifact, order
from launch_agent.sources.git.access import Access
from launch_agent.sources.git.handover import Handover, hand_over
from launch_agent.sources.git.remote import Remote
from launch_agent.sources.image import ready_image
from launch_agent.sources.of_job import source_of
from launch_agent.spec.code import Code
from launch_agent.spec.job import Job, SourceKind
from launch_agent.spec.kubernetes.problems import Problems
from launch_agent.spec.kubernetes.templates import find, main_container
from launch_agent.spec.model import Resource, RunSpec
from launch_agent.spec.secret import Secret

# Where a run can be given files beside its image.
_CAPABLE = (Resource.KUBERNETES, Resource.LOCAL_CONTAINER)
_MACRO = "${"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The image that a job's code runs in, empty where the queue's pods have one, and the code. `folder` is
    what the code is in for as long as the run is being started, None where it is nowhere yet."""

    image: str
    code: Code
    folder: Path | None = None

    def release(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


class Unbuilt:
    """Prepares jobs that run without a build. `base_image` is the config's, empty where it names none;
    `requirements` whether their packages are installed at their start; `api_key` is the agent's."""

    def __init__(
        self,
        *,
        base_image: str,
        requirements: bool,
        backend: artifact.Backend,
        api_key: Secret,
        access: Access,
        git: Git | None = None,
    ) -> None:
        self._base_image = base_image
        self._requirements = requirements
        self._backend = backend
        self._api_key = api_key
        self._access = access
        self._submodules = git.submodules if git is not None else False
        self._timeout = git.timeout if git is not None else artifact.TIMEOUT

    def image(self, job: Job, spec: RunSpec, *, can_build: bool) -> str | None:
        """The image that the job's code is to run in, empty for that of the queue's pods; None where it is to
        be built. Raises ImageError for what is no reference."""
        if spec.resource not in _CAPABLE or (can_build and spec.overrides.dockerfile):
            return None
        if job.base_image:
            return ready_image(job.base_image)
        if can_build:
            return None
        named = job_image.base_image_of(spec.builder)
        own = spec.resource == Resource.KUBERNETES and _has_image(spec.resource_args)
        if not named and own:
            return ""
        named = named or self._base_image
        return ready_image(named) if named else None

    def prepare(self, job: Job, spec: RunSpec, image: str, folder: Path) -> Ready:
        """`folder` is for code that has to be here. Raises SourceError, ImageError, Refused."""
        code_folder.check(job)
        if not (spec.overrides.entry_point or job.entry_point):
            raise Refused(
                f"the job {job.name} runs without a build, and nothing says what it runs",
                hint="create it with an entry point (-E), or submit it with one",
            )
        if spec.resource == Resource.KUBERNETES:
            return Ready(image=image, code=self._ordered(job, spec))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = Path(tempfile.mkdtemp(dir=folder))
        ready = False
        try:
            code = self._fetched(job, place)
            ready = True
        finally:
            if not ready:
                shutil.rmtree(place, ignore_errors=True)
        return Ready(image=image, code=code, folder=place)

    def _ordered(self, job: Job, spec: RunSpec) -> Code:
        opened = Handover()
        if job.kind is SourceKind.REPO:
            opened = hand_over(self._access, Remote.parse(job.remote))
        wanted = order.Order(
            job=job.name,
            base_url=self._backend.base_url,
            # The submitter's own key where it travels with the job: it can do no more than they can.
            api_key=spec.api_key or self._api_key,
            submodules=self._submodules,
            timeout=self._timeout,
            git=opened,
        )
        return Code(order=order.write(wanted), requirements=self._requirements)

    def _fetched(self, job: Job, place: Path) -> Code:
        source = source_of(
            job,
            backend=self._backend,
            access=self._access,
            submodules=self._submodules,
            timeout=self._timeout,
        )
        if source is None:
            raise SourceError(f"the job {job.name} has no code")
        return Code(pack=code_folder.packer(source.fetch(place).directory, job))


def _has_image(resource_args: Mapping[str, Any]) -> bool:
    """Whether a queue's pods have an image of their own; a macro would be the job's."""
    problems = Problems()
    images = [
        found[1].get("image")
        for template in find(copy.deepcopy(dict(resource_args)), problems)
        if not template.helper and (found := main_container(template)) is not None
    ]
    return bool(images) and all(isinstance(each, str) and each and _MACRO not in each for each in images)
