"""From a job to the image that runs it: what the job is, its code, what is to be built, and the build.

    job ──> resolve ──> fetch ──> plan ──> there already? ──> build
             image <────┘                      └──> image

A job that is a ready image ends at the first step, and one whose image is there at the fourth. The tag of an
exact version of a job is remembered, so that the same job again needs neither its code nor a plan. Code lives
in a folder of its own below the state folder, for as long as its build; what a crash leaves there is removed
at the next start.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from launch_agent.builders import Builder
from launch_agent.config.model import Git
from launch_agent.control.builder_choice import BuilderChoice
from launch_agent.control.builds import Builds
from launch_agent.control.unbuilt import Unbuilt
from launch_agent.errors import BuildError, SourceError
from launch_agent.images import job as job_image
from launch_agent.images.job import Options
from launch_agent.registries import Registry
from launch_agent.sources import Source, artifact
from launch_agent.sources.git.access import Access
from launch_agent.sources.image import ready_image
from launch_agent.sources.of_job import source_of
from launch_agent.spec import cloud
from launch_agent.spec.code import Code
from launch_agent.spec.image import ImageRef
from launch_agent.spec.job import Job, SourceKind
from launch_agent.spec.model import Credentials, Resource, RunIdentity, RunSpec

_log = logging.getLogger(__name__)
_MOST_KNOWN = 2_000
# What is kept of a build's log for its failure, in characters: as much as the backend's page shows.
_LONGEST_LOG = 1_000_000
_EXACT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# Training containers of SageMaker write to folders that belong to root.
_ROOT = 0
_USER = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobImage:
    """An image that is ready to run. `entry_point` is the job's own, where the image does not have it;
    `credentials` opens the image's registry, where the agent is the one to know. `code` is what the image
    does not hold of a job that runs without a build; `release` is to be called once its run has been started,
    or will not be."""

    reference: str
    entry_point: Sequence[str] = ()
    credentials: Callable[[], Credentials | None] | None = None
    code: Code | None = None
    release: Callable[[], None] = lambda: None


@dataclass(slots=True)
class BuildLog:
    """The end of what a build printed."""

    size: int = 0
    lines: deque[str] = field(default_factory=deque)

    def add(self, line: str) -> None:
        self.lines.append(line)
        self.size += len(line) + 1
        while self.size > _LONGEST_LOG:
            self.size -= len(self.lines.popleft()) + 1

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


class Images(Protocol):
    """What the pipeline asks for an image; see `JobImages`."""

    def ready(self, image: str) -> JobImage: ...

    def of(self, spec: RunSpec, identity: RunIdentity, *, is_stopped: Callable[[], bool]) -> JobImage: ...


class JobImages:
    """Makes the images of one agent's jobs. `builder` is None where none is active; `folder` holds the code
    of what is being built. `needs` asks the world for what builds need. Safe to use from several threads."""

    def __init__(
        self,
        *,
        choice: BuilderChoice,
        builder: Builder | None,
        registry: Registry | None,
        backend: artifact.Backend,
        access: Access,
        folder: Path,
        platform: str = "",
        unbuilt: Unbuilt | None = None,
        git: Git | None = None,
        needs: Callable[[], None] = lambda: None,
    ) -> None:
        self._needs = needs
        self._unbuilt = unbuilt
        self._submodules = git.submodules if git is not None else False
        self._timeout = git.timeout if git is not None else artifact.TIMEOUT
        self._choice = choice
        self._builder = builder
        self._registry = registry
        self._builds = Builds(builder) if builder is not None else None
        self._backend = backend
        self._access = access
        self._folder = folder
        self._platform = platform
        self._lock = threading.Lock()
        self._known: OrderedDict[str, str] = OrderedDict()

    def clean(self) -> None:
        """Remove what an earlier process left of its builds."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._builder is not None:
            self._builder.sweep()

    def verify(self) -> None:
        """Raise LaunchError where builds would fail now, with what is missing. Changes nothing but that a
        registry may make its repository, where the config says so."""
        if self._builder is not None:
            self._needs()
            self._builder.verify()

    def close(self) -> None:
        if self._builder is not None:
            self._builder.close()

    def ready(self, image: str) -> JobImage:
        """An image that a job names itself. Raises ImageError where it is no reference."""
        return JobImage(reference=ready_image(image), credentials=self.opens(image))

    def of(self, spec: RunSpec, identity: RunIdentity, *, is_stopped: Callable[[], bool]) -> JobImage:
        """The image of the job that `spec` names, built where it is not there.

        `is_stopped` is asked every few seconds. Raises SourceError, ImageError, RegistryError, BuildError and
        their kinds, Refused where no builder is active, and Stopped.
        """
        job = artifact.resolve(spec.job, self._backend)
        if job.kind is SourceKind.IMAGE:
            return replace(self.ready(job.image), entry_point=job.entry_point)
        if (ready := self._ready_for(job, spec, identity)) is not None:
            return ready
        if self._builder is None or self._builds is None:
            raise self._choice.refusal(spec.job)
        cloud.check_repository(spec.resource, self._builder.repository)
        options = self._options(spec)
        key = _key(job, options, self._builder.repository)
        if found := self._found(key):
            _log.info("the image of job %s is there already", job.name, extra={"item": identity.item_id})
            return self._image(found)
        source = source_of(
            job,
            backend=self._backend,
            access=self._access,
            submodules=self._submodules,
            timeout=self._timeout,
        )
        if source is None:
            raise SourceError(f"the job {job.name} has no code")
        return self._image(self._made(source, job, options, key, identity, is_stopped))

    def _ready_for(self, job: Job, spec: RunSpec, identity: RunIdentity) -> JobImage | None:
        """What the job's code runs in without a build; None where it is to be built."""
        if self._unbuilt is None:
            return None
        image = self._unbuilt.image(job, spec, can_build=self._builder is not None)
        if image is None:
            return None
        _log.info(
            "job %s runs without a build in %s",
            job.name,
            image or "its queue's image",
            extra={"item": identity.item_id},
        )
        ready = self._unbuilt.prepare(job, spec, image, self._folder)
        return JobImage(
            reference=image,
            entry_point=job.entry_point,
            credentials=self.opens(image) if image else None,
            code=ready.code,
            release=ready.release,
        )

    def _made(
        self,
        source: Source,
        job: Job,
        options: Options,
        key: str,
        identity: RunIdentity,
        is_stopped: Callable[[], bool],
    ) -> ImageRef:
        if self._builder is None or self._builds is None:
            raise AssertionError("asked for by `of` only where there is a builder")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        owned = True
        try:
            checkout = source.fetch(folder)
            context = job_image.plan(
                checkout.directory, job, options, revision=checkout.revision, origin=checkout.origin
            )
            ref = ImageRef.parse(f"{self._builder.repository}:{context.digest}")
            _log.info("job %s is image %s: %s", job.name, ref, context.why, extra={"item": identity.item_id})
            if (found := self._builder.find(ref)) is None:
                log = BuildLog()
                owned = False
                try:
                    found = self._builds.image(
                        context,
                        ref,
                        log=log.add,
                        is_stopped=is_stopped,
                        release=lambda: shutil.rmtree(folder, ignore_errors=True),
                    )
                except BuildError as error:
                    error.log = str(log) or error.log
                    raise
            self._remember(key, context.digest)
            return found
        finally:
            if owned:
                shutil.rmtree(folder, ignore_errors=True)

    def _image(self, ref: ImageRef) -> JobImage:
        # By its digest: a tag could be pushed over between the build and the pull.
        reference = f"{ref.repository}@{ref.digest}" if ref.digest else str(ref)
        return JobImage(reference=reference, credentials=self.opens(reference))

    def opens(self, image: str) -> Callable[[], Credentials | None] | None:
        """What opens the image's registry, where that is the one that the config names. Raises ImageError
        where the image is no reference."""
        if self._registry is None:
            return None
        ours = ImageRef.parse(self._registry.repository).host
        return self._registry.credentials if ImageRef.parse(image).host == ours else None

    def _options(self, spec: RunSpec) -> Options:
        return Options(
            dockerfile=spec.overrides.dockerfile,
            base_image=job_image.base_image_of(spec.builder),
            platform=self._platform,
            has_mounts=self._builder.has_mounts if self._builder is not None else False,
            user=_user(spec),
        )

    def _found(self, key: str) -> ImageRef | None:
        """The image of an exact version that was made before, if it is still there."""
        with self._lock:
            tag = self._known.get(key, "")
        if not tag or self._builder is None:
            return None
        return self._builder.find(ImageRef.parse(f"{self._builder.repository}:{tag}"))

    def _remember(self, key: str, tag: str) -> None:
        if not key:
            return
        with self._lock:
            self._known[key] = tag
            self._known.move_to_end(key)
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)


def _user(spec: RunSpec) -> int:
    if spec.resource == Resource.SAGEMAKER:
        return _ROOT
    return _USER if spec.user_id is None else spec.user_id


def _key(job: Job, options: Options, repository: str) -> str:
    """What an exact version of a job and its options are known by; empty for one that may change, such as a
    branch. `Job.name` is a version that cannot."""
    if job.kind is SourceKind.REPO and not _EXACT.fullmatch(job.commit):
        return ""
    return repr((job, options, repository, job.patch, job.frozen))
