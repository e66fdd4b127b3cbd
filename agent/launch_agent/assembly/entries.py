"""What a layer holds: files, folders and links as values, with nothing of the machine that made them.

Owners, times and extended attributes are not taken over: owner and time are the layer's own, modes are
reduced to what an image needs. So the same files make the same layer whoever checked them out, and when.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

from launch_agent.errors import ImageError


class Kind(Enum):
    """The kinds of entry that images are made of here. Devices and sockets are none of them."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "symbolic link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path of a layer. `path` is relative to the image's root, with `/` between its parts.

    A file's content is `content`, or what is in `source` when the layer is written. `target` is a link's
    text.
    """

    path: str
    kind: Kind = Kind.FILE
    mode: int = 0o644
    source: Path | None = None
    content: bytes = b""
    target: str = ""

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        if not parts or self.path.startswith("/") or ".." in parts or "\0" in self.path:
            raise ImageError(f"{self.path!r} is no path inside an image")
        if str(PurePosixPath(self.path)) != self.path:
            raise ImageError(f"{self.path!r} is not written plainly: {PurePosixPath(self.path)} is")


def of_folder(folder: Path, into: str, *, keep: Callable[[str], bool] = lambda _: True) -> Iterator[Entry]:
    """Everything in a folder, as entries below `into`. `keep` is asked with each path relative to the folder;
    a folder that it refuses is not looked into.

    Files keep whether they can be executed, and nothing else of their mode. Raises ImageError for what has no
    place in an image (a socket, a device) and for links that lead out of the folder.
    """
    root = folder.resolve()
    yield Entry(path=into, kind=Kind.FOLDER, mode=0o755)
    waiting = [(root, "")]
    while waiting:
        here, below = waiting.pop()
        with os.scandir(here) as found:
            children = sorted(found, key=lambda child: child.name)
        for child in children:
            path = f"{below}{child.name}"
            if not keep(path):
                continue
            place = f"{into}/{path}"
            if child.is_symlink():
                yield Entry(path=place, kind=Kind.LINK, mode=0o777, target=_inner(root, Path(child.path)))
            elif child.is_dir():
                yield Entry(path=place, kind=Kind.FOLDER, mode=0o755)
                waiting.append((Path(child.path), f"{path}/"))
            elif child.is_file():
                executable = child.stat().st_mode & stat.S_IXUSR
                yield Entry(path=place, mode=0o755 if executable else 0o644, source=Path(child.path))
            else:
                raise ImageError(f"{child.path} is neither a file nor a folder nor a link")


def _inner(root: Path, link: Path) -> str:
    """A link's text, where it stays inside the root."""
    target = str(link.readlink())
    end = Path(os.path.normpath(link.parent / target))
    if Path(target).is_absolute() or not end.is_relative_to(root):
        raise ImageError(
            f"the symbolic link {link.relative_to(root)} leads out of its folder, to {target}",
            hint="replace the link by what it points to, or leave it out",
        )
    return target
