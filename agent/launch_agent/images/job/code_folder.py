"""The code of a job that runs without a build: what a fetched folder becomes before a run gets it.

As for a build, the job's build context is all of the code that counts, and a symbolic link that leads out of
it is refused. Nobody knows as which user the job's image runs, so everybody may change everything.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from launch_agent.errors import ImageError, LaunchError
from launch_agent.images.job import archive
from launch_agent.images.job.choice import context_root
from launch_agent.images.job.tree import Tree
from launch_agent.spec.job import Job

NAME = "job"


def check(job: Job) -> None:
    """Raise ImageError where a job cannot run without a build."""
    if job.is_notebook:
        raise ImageError(
            f"the job {job.name} runs a notebook, which agents do not run",
            hint="convert it ('jupyter nbconvert --to script') and create the job from the script",
        )


def packer(code: Path, job: Job) -> Callable[[str], Iterator[bytes]]:
    """What gives the code as a tar archive, its paths below a folder. Raises ImageError, and so does what is
    returned, where files change meanwhile."""
    root = context_root(code, job)
    entries = Tree(root=root).entries()
    return lambda below: archive.pack(root, entries, below=below, is_open=True)


def settle(code: Path, job: Job, into: Path) -> None:
    """Make `into/NAME` of code that was fetched to a folder below `into`, and remove the rest of it.

    Raises LaunchError and its kinds.
    """
    check(job)
    root = context_root(code, job)
    Tree(root=root).entries()
    target = into / NAME
    fetched = into / code.relative_to(into).parts[0]
    try:
        shutil.rmtree(target, ignore_errors=True)
        root.rename(target)
        shutil.rmtree(fetched, ignore_errors=True)
        _open(target)
    except OSError as error:
        raise LaunchError(f"putting the code into {target}: {error.strerror or error}") from error


def _open(root: Path) -> None:
    for folder, _, names in os.walk(root):
        Path(folder).chmod(0o777)
        for file in (Path(folder, name) for name in names):
            if not file.is_symlink():
                file.chmod(0o777 if file.stat().st_mode & 0o100 else 0o666)
