"""Jobs whose source is a Git repository: one commit of it, and nothing else, in a folder.

The repository's history is not kept, and neither is `.git`: what is left is the content, so that equal
content is equal whoever fetched it. A job's `diff.patch` (what its author had changed and not committed) is
applied.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path, PurePosixPath

from launch_agent.errors import SourceError, SourceNotFound
from launch_agent.sources import Checkout
from launch_agent.sources.git import refs
from launch_agent.sources.git.access import Access, environment
from launch_agent.sources.git.command import Git
from launch_agent.sources.git.remote import Remote
from launch_agent.telemetry import log

# Seconds for everything; a repository that takes longer is too large to be fetched for each job.
TIMEOUT = 900.0
_ATTEMPTS = 3


def create(
    address: str,
    *,
    access: Access,
    ref: str = "",
    subdirectory: str = "",
    submodules: bool = False,
    patch: bytes = b"",
    timeout: float = TIMEOUT,
    stop: threading.Event | None = None,
) -> GitSource:
    """A job's repository. `ref` is a branch, tag or commit and wins over the one in the address; so does
    `subdirectory`, the folder that holds the job. `patch` is a diff to apply. Raises SourceError for an
    address that is not used (see `remote`)."""
    return GitSource(
        Remote.parse(address),
        access=access,
        ref=ref,
        subdirectory=subdirectory,
        submodules=submodules,
        patch=patch,
        timeout=timeout,
        stop=stop or threading.Event(),
    )


class GitSource:
    """Fetches a commit; a `Source`."""

    def __init__(
        self,
        remote: Remote,
        *,
        access: Access,
        ref: str,
        subdirectory: str,
        submodules: bool,
        patch: bytes,
        timeout: float,
        stop: threading.Event,
    ) -> None:
        self.remote = remote
        self._access = access
        self._ref = ref.strip()
        self._subdirectory = subdirectory
        self._submodules = submodules
        self._patch = patch
        self._timeout = timeout
        self._stop = stop

    def fetch(self, into: Path) -> Checkout:
        """Put the commit's files into an empty folder. Raises SourceError, SourceNotFound, SourceDenied."""
        log.hide(self.remote.password)
        try:
            with tempfile.TemporaryDirectory(prefix="launch-agent-git-") as scratch:
                return self._fetch(into, Path(scratch))
        except OSError as error:
            raise SourceError(f"fetching {self.remote}: {error.strerror or error}") from error
        finally:
            log.forget(self.remote.password)

    def _fetch(self, into: Path, scratch: Path) -> Checkout:
        git = Git(
            directory=into,
            environment=environment(self._access, self.remote, scratch),
            what=str(self.remote),
            until=time.monotonic() + self._timeout,
            timeout=self._timeout,
            stop=self._stop,
        )
        # The longer kind of id tells that the repository uses the newer hash.
        kind = "sha256" if len(self._ref) == 64 else "sha1"
        git.run(
            "init", "--quiet", "--template=", f"--object-format={kind}", ".", doing="preparing a checkout"
        )
        git.run("remote", "add", "origin", "--", self.remote.url, doing="preparing a checkout")
        target = self._patiently(git)
        commit = target.commit
        git.run("checkout", "--quiet", "--detach", commit, "--", doing="checking out a commit")
        if self._submodules and (into / ".gitmodules").exists():
            git.run(
                *("submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1", "--jobs", "2"),
                doing="fetching the submodules",
            )
        content = hashlib.sha256(git.run("rev-parse", f"{commit}^{{tree}}", doing="naming a commit").encode())
        self._apply(git, content, scratch)
        path = PurePosixPath(self._subdirectory or self.remote.subdirectory or _folder(self.remote, target))
        content.update(f"{path}\0{self._submodules}".encode())
        _forget_history(into)
        return Checkout(
            id=content.hexdigest(),
            directory=_inside(into, path, git.what),
            revision=commit,
            origin=self.remote.url,
        )

    def _patiently(self, git: Git) -> refs.Target:
        """Find and fetch the commit; what may go better in a moment is tried again, within the deadline."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                target = refs.resolve(git, ref=self._ref or self.remote.ref, place=self.remote.place)
                return _fetched(git, target)
            except SourceError as error:
                if not error.retryable or attempt == _ATTEMPTS or time.monotonic() > git.until:
                    raise
                self._stop.wait(2.0 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    def _apply(self, git: Git, content: hashlib._Hash, scratch: Path) -> None:
        """Git itself refuses a patch that leaves the folder or writes through a symbolic link."""
        if not self._patch.strip():
            return
        content.update(b"\0" + hashlib.sha256(self._patch).digest())
        file = scratch / "diff.patch"
        file.write_bytes(self._patch)
        try:
            git.run("apply", "--whitespace=nowarn", str(file), doing="applying diff.patch")
        except SourceError as error:
            raise SourceError(
                f"the job's diff.patch does not fit the commit it was made for: {error.message}",
                hint="commit and push the changes, and create the job anew",
            ) from error


def _fetched(git: Git, target: refs.Target) -> refs.Target:
    """Bring the commit here, by the cheapest way that the server allows."""
    for what in (target.commit, target.ref if target.commit else ""):
        if not what:
            continue
        try:
            git.run(
                *(
                    "fetch",
                    "--quiet",
                    "--depth=1",
                    "--no-tags",
                    "--no-recurse-submodules",
                    "--",
                    "origin",
                    what,
                ),
                doing="fetching a commit",
            )
        except SourceNotFound:
            continue
        if git.succeeds("cat-file", "-e", f"{target.commit}^{{commit}}"):
            return target
    # The server hands out branches only, or the id is a short one: the commit is somewhere in the history.
    git.run(
        *("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--filter=blob:none", "--", "origin"),
        *("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"),
        doing="fetching the history",
    )
    wanted = target.commit or target.ref
    try:
        commit = git.run(
            "rev-parse", "--quiet", "--verify", "--end-of-options", f"{wanted}^{{commit}}", doing="naming it"
        )
    except SourceError as error:
        raise SourceNotFound(
            f"{git.what} has no commit {wanted}, or more than one that begins so",
            hint="check that it was pushed, and not replaced by a force push since",
        ) from error
    return refs.Target(commit=commit.strip(), path=target.path)


def _folder(remote: Remote, target: refs.Target) -> str:
    """The folder that a page shows; of a file, the one it is in."""
    return str(PurePosixPath(target.path).parent) if remote.is_file else target.path


def _forget_history(into: Path) -> None:
    """Remove Git's own files, of submodules too: they differ from checkout to checkout."""
    for folder, folders, files in os.walk(into):
        if ".git" in folders:
            folders.remove(".git")
            shutil.rmtree(Path(folder, ".git"))
        if ".git" in files:
            Path(folder, ".git").unlink()


def _inside(into: Path, path: PurePosixPath, what: str) -> Path:
    """The folder that holds the job; a symbolic link on the way must not lead out."""
    folder = into / path
    if path.is_absolute() or ".." in path.parts or not folder.resolve().is_relative_to(into.resolve()):
        raise SourceError(f"the folder {str(path)!r} is not within {what}", hint="give a path below its root")
    if not folder.is_dir():
        raise SourceNotFound(
            f"{what} has no folder {str(path)!r} at that commit", hint="check the job's folder"
        )
    return folder
