"""What a job is made of, for `launch-agent job create`: a folder, a repository or an image.

Everything that an agent would refuse after a wait is refused here: the image is planned as the agent does it
(`images.job.plan`), and a repository's commit is fetched. A job names an exact commit, so that it stays what
it was when its branch goes on.
"""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from launch_agent.errors import ConfigError, ImageError, SourceError
from launch_agent.images.job import WANDBIGNORE, Options, plan
from launch_agent.images.job.ignore import Ignore
from launch_agent.images.job.tree import Entry, Tree
from launch_agent.queues.artifacts import File
from launch_agent.sources import git
from launch_agent.sources.git.access import Access
from launch_agent.spec.image import ImageRef
from launch_agent.spec.job import Job, SourceKind, runtime_of

# Never part of a code artifact: history, and what the official client and Python leave beside the code.
_NEVER = "**/.git\nwandb\n**/__pycache__\n**/*.pyc\n**/.DS_Store\n"
_RUNTIME = re.compile(r"3\.\d{1,2}")
_RUNTIME_FILES = ("runtime.txt", ".python-version")
_REQUIREMENTS = "requirements.txt"
_LARGEST_TEXT = 1024 * 1024
_LONGEST_NAME = 123


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the submitter says beside the place; empty where they say nothing. `environment` is the
    process's, for Git."""

    name: str = ""
    entry_point: str = ""
    runtime: str = ""
    ref: str = ""
    build_context: str = ""
    dockerfile: str = ""
    submodules: bool = False
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A job to publish, with its files. `note` says what its image is made by, or what to know of it."""

    job: Job
    files: Sequence[File] = ()
    aliases: Sequence[str] = ()
    note: str = ""


def of(kind: str, place: str, wanted: Wanted) -> Made:
    """`kind` is a word of the command line: code, git or image. Raises ConfigError, and SourceError for a
    repository that cannot be fetched."""
    if wanted.runtime and not _RUNTIME.fullmatch(wanted.runtime):
        raise ConfigError(f"--runtime {wanted.runtime!r} is no Python version", hint="such as 3.12")
    if wanted.ref and kind != "git":
        raise ConfigError(f"--ref is for jobs from Git, and this one is from {kind}", hint="leave it out")
    if wanted.submodules and kind != "git":
        raise ConfigError(
            f"--submodules is for jobs from Git, and this one is from {kind}", hint="leave it out"
        )
    with _as_config():
        return {"code": _of_folder, "git": _of_repository, "image": _of_image}[kind](place, wanted)


def _of_folder(place: str, wanted: Wanted) -> Made:
    root = Path(place)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise ConfigError(f"{place} {what}", hint="name the folder that holds the code")
    files = list(_files(root))
    if not files:
        raise ConfigError(f"there are no files in {place}", hint=f"does {WANDBIGNORE} leave all of them out?")
    job = _job(SourceKind.ARTIFACT, root.resolve().name, root, wanted)
    note = _planned(root, job)
    frozen = _text(root / wanted.build_context / _REQUIREMENTS).encode()
    return Made(job=replace(job, frozen=frozen), files=files, note=note)


def _of_repository(place: str, wanted: Wanted) -> Made:
    try:
        source = git.create(
            place,
            access=Access(environment=wanted.environment),
            ref=wanted.ref,
            submodules=wanted.submodules,
        )
    except SourceError as error:
        raise ConfigError(error.message, hint=error.hint) from error
    with tempfile.TemporaryDirectory(prefix="launch-agent-") as folder:
        root = Path(folder)
        found = source.fetch(root)
        title = found.origin.rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".git")
        below = found.directory.relative_to(root).as_posix()
        if below != "." and not wanted.build_context:
            wanted = replace(wanted, build_context=below)
        job = _job(SourceKind.REPO, title, root, wanted)
        # What is not asked for is left to the agent's own setting.
        job = replace(job, remote=found.origin, commit=found.revision, submodules=wanted.submodules or None)
        note = f"commit {found.revision}; {_planned(root, job)}"
    if source.remote.password:
        note += "; the password in the address is not kept: the agent needs credentials of its own"
    return Made(job=job, note=note)


def _of_image(place: str, wanted: Wanted) -> Made:
    for option, value in (("--build-context", wanted.build_context), ("--dockerfile", wanted.dockerfile)):
        if value:
            raise ConfigError(
                f"{option} is for jobs that are built, and an image is not", hint="leave it out"
            )
    ref = ImageRef.parse(place)
    job = Job(
        name=wanted.name or _name(f"job-{ref.repository}"),
        kind=SourceKind.IMAGE,
        image=str(ref),
        entry_point=_words(wanted.entry_point),
        runtime=wanted.runtime,
    )
    return Made(job=job, aliases=(ref.tag,) if ref.tag and not re.fullmatch(r"v\d+", ref.tag) else ())


def _job(kind: SourceKind, title: str, root: Path, wanted: Wanted) -> Job:
    words = _words(wanted.entry_point)
    last = f"_{words[-1]}" if words else ""
    return Job(
        name=wanted.name or _name(f"job-{title}{last}"),
        kind=kind,
        entry_point=words,
        runtime=wanted.runtime or _runtime(root / wanted.build_context),
        build_context=wanted.build_context,
        dockerfile=wanted.dockerfile,
    )


def _planned(root: Path, job: Job) -> str:
    """Why its image will be made as it will be. Raises ImageError, and ConfigError without an entry point."""
    context = plan(root, job, Options(), write=False)
    if context.is_generated and not job.entry_point:
        raise ConfigError(
            "the job has no entry point: nothing says what it runs",
            hint="say it by -E 'python train.py', or bring a Dockerfile (-D)",
        )
    return context.why


def _files(root: Path) -> Iterator[File]:
    """Every file of a folder that is not left out. A link within it is what it leads to: artifacts have no
    links, and nothing to say whether a file can be run."""
    ignores = [Ignore(_NEVER, file="built-in patterns")]
    if text := _text(root / WANDBIGNORE):
        ignores.append(Ignore(text, file=WANDBIGNORE))
    for entry in Tree(root=root, ignores=ignores).entries():
        yield File(path=entry.path, source=_source(root, entry))


def _source(root: Path, entry: Entry) -> Path:
    path = root / entry.path
    if entry.is_link and not path.is_file():
        raise ConfigError(
            f"the symbolic link {entry.path!r} leads to no file, and an artifact holds files only",
            hint=f"copy what it leads to, or name it in {WANDBIGNORE}",
        )
    return path


def _runtime(root: Path) -> str:
    """The Python version that the code names for itself, else the one that runs this."""
    for name in _RUNTIME_FILES:
        if found := runtime_of(_text(root / name).partition("\n")[0]):
            return found
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(
            f"--entry-point cannot be split into words: {error}", hint="close the quotes"
        ) from error


def _name(text: str) -> str:
    """A name that the backends take, from any text."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:_LONGEST_NAME]


def _text(path: Path) -> str:
    """The content of a small file; empty where there is none."""
    if not path.is_file() or path.stat().st_size > _LARGEST_TEXT:
        return ""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"reading {path}: {error.strerror}") from error


@contextmanager
def _as_config() -> Iterator[None]:
    """Here the user's own words are wrong where an agent would speak of the job's."""
    try:
        yield
    except ImageError as error:
        raise ConfigError(error.message, hint=error.hint) from error
