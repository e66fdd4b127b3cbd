"""Which Dockerfile a job is built by: the first of these that is there.

    1. the one that the submitter names for this run (`overrides.dockerfile`)
    2. the one that the job names
    3. `Dockerfile.wandb` beside the job's entry point, or in the root of its context
    4. one that is written for it (`render`)

A `Dockerfile` that nobody names is not used: it may be for something else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch_agent.errors import ImageError
from launch_agent.spec.job import Job

_OWN = "Dockerfile.wandb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`path` is below the context's root, empty where a Dockerfile is to be written."""

    path: str
    why: str


def context_root(code: Path, job: Job) -> Path:
    """The folder that is built: the job's `build_context` within its code. Raises ImageError."""
    return _inside(code, job.build_context, "the job's build context", must_be="folder")


def choose(root: Path, job: Job, *, named: str = "") -> Choice:
    """`named` is the submitter's. Raises ImageError where a Dockerfile that somebody names is not there."""
    if named:
        path = _inside(root, named, "the Dockerfile that the run names", must_be="file")
        return Choice(path=_below(root, path), why=f"the run names {named}")
    if job.dockerfile:
        path = _inside(root, job.dockerfile, "the Dockerfile that the job names", must_be="file")
        return Choice(path=_below(root, path), why=f"the job names {job.dockerfile}")
    for folder in dict.fromkeys([*_entry_folders(job.entry_point), ""]):
        candidate = posixpath.join(folder, _OWN)
        if (root / candidate).is_file():
            path = _inside(root, candidate, _OWN, must_be="file")
            return Choice(path=_below(root, path), why=f"the code has {candidate}")
    unused = " (its Dockerfile is not used, since neither run nor job names it)"
    return Choice(
        path="",
        why="nobody names a Dockerfile, so one is written"
        + (unused if (root / "Dockerfile").is_file() else ""),
    )


def _entry_folders(entry_point: Sequence[str]) -> list[str]:
    """The folders of whatever in a command may be a file below the root."""
    folders = [posixpath.dirname(posixpath.normpath(word)) for word in entry_point if "\0" not in word]
    return [folder for folder in folders if not folder.startswith(("/", ".."))]


def _inside(root: Path, path: str, what: str, *, must_be: str) -> Path:
    """A path below the root, through links that stay within. Raises ImageError."""
    base = root.resolve()
    found = (base / path).resolve()
    if posixpath.isabs(path) or "\0" in path or not found.is_relative_to(base):
        raise ImageError(
            f"{what}, {path[:200]!r}, is not within the job's code", hint="give a path below the code's root"
        )
    if not (found.is_dir() if must_be == "folder" else found.is_file()):
        raise ImageError(
            f"{what}, {path[:200]!r}, is not a {must_be} of the job's code",
            hint="paths of Dockerfiles are below the job's build context",
        )
    return found


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root.resolve()).as_posix()
