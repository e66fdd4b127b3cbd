"""What a build context holds: the files of a folder that are not left out, with what we add to them.

Files are told by path, content and whether they can be run; owners, dates and the rest of their modes differ
from machine to machine. Folders count by what is in them. A symbolic link is taken as it is where it stays
within the context; one that leads out of it is refused, since it would show files of the agent's machine to a
build that follows it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch_agent.errors import ImageError
from launch_agent.images.job.ignore import Ignore

_MOST_FILES = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file or a link. `path` is below the context's root; `size` is in bytes; `target` is a link's own
    text; `content` is set where the file is one of ours and need not be on disk."""

    path: str
    size: int = 0
    is_executable: bool = False
    target: str = ""
    content: bytes | None = field(default=None, repr=False)

    @property
    def is_link(self) -> bool:
        return bool(self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A folder as a build sees it. `kept` are paths that are there whatever the patterns say; `added` are
    files of ours by their path, which take the place of what is on disk."""

    root: Path
    ignores: Sequence[Ignore] = ()
    kept: frozenset[str] = frozenset()
    added: Mapping[str, bytes] = field(default_factory=dict)

    def entries(self) -> list[Entry]:
        """In the order of their paths' bytes, the same on every machine. Raises ImageError."""
        found = {path: Entry(path=path, size=len(data), content=data) for path, data in self.added.items()}
        try:
            for entry in self._walk(""):
                found.setdefault(entry.path, entry)
                if len(found) > _MOST_FILES:
                    raise ImageError(
                        f"the job's code has more than {_MOST_FILES} files",
                        hint="leave out what the image does not need, by a .dockerignore",
                    )
        except OSError as error:
            raise ImageError(f"reading the job's code: {error.filename}: {error.strerror}") from error
        return sorted(found.values(), key=lambda entry: os.fsencode(entry.path))

    def is_left_out(self, path: str) -> bool:
        return path not in self.kept and any(ignore.leaves_out(path) for ignore in self.ignores)

    def left_out(self) -> Iterator[Path]:
        """Files on disk that the build does not see, for who wants to remove them."""
        seen = {entry.path for entry in self.entries()}
        for folder, folders, names in os.walk(self.root):
            for path in (Path(folder, name) for name in [*folders, *names]):
                if path.is_dir() and not path.is_symlink():
                    continue
                if path.relative_to(self.root).as_posix() not in seen:
                    yield path

    def _walk(self, folder: str) -> Iterator[Entry]:
        with os.scandir(self.root / folder) as found:
            for item in found:
                path = f"{folder}/{item.name}" if folder else item.name
                is_left_out = self.is_left_out(path)
                if item.is_dir(follow_symlinks=False):
                    if not is_left_out or self._may_hold_something(path):
                        yield from self._walk(path)
                elif not is_left_out:
                    yield self._entry(item, path)

    def _may_hold_something(self, folder: str) -> bool:
        """Whether a folder that is left out has to be looked into all the same."""
        is_above = any(path.startswith(f"{folder}/") for path in self.kept)
        return is_above or any(ignore.takes_back for ignore in self.ignores)

    def _entry(self, item: os.DirEntry[str], path: str) -> Entry:
        _check_name(path)
        known = item.stat(follow_symlinks=False)
        if stat.S_ISLNK(known.st_mode):
            return Entry(path=path, target=_checked_target(self.root, path))
        if not stat.S_ISREG(known.st_mode):
            raise ImageError(
                f"{path!r} in the job's code is neither a file nor a folder", hint="name it in .dockerignore"
            )
        return Entry(path=path, size=known.st_size, is_executable=bool(known.st_mode & stat.S_IXUSR))


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ImageError(
            f"{path.encode('utf-8', 'backslashreplace').decode()!r} in the job's code has a name that is not "
            f"UTF-8",
            hint="rename it, or name it in .dockerignore",
        ) from error


def _checked_target(root: Path, path: str) -> str:
    """A link's text. Raises ImageError where the link leads out of the root, by its text or in fact."""
    target = str((root / path).readlink())
    written = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    real = os.path.realpath(root / path)
    base = os.path.realpath(root)
    is_inside = real == base or real.startswith(f"{base}{os.sep}")
    if posixpath.isabs(target) or written == ".." or written.startswith("../") or not is_inside:
        raise ImageError(
            f"the symbolic link {path!r} in the job's code leads out of it, to {target[:200]!r}",
            hint="replace it by what it leads to, or name it in .dockerignore",
        )
    return target
