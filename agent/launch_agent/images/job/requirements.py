"""What a requirements file draws in: other files, constraints, and code of the job's own.

Only as much of pip's format is read as is needed to know which files the installation needs, and which lines
install code that lies in the job itself; pip reads the rest.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from launch_agent.errors import ImageError

_COMMENT = re.compile(r"(?:^|\s)#.*$")
_FILE_OPTION = re.compile(
    r"(?:-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?<=-r)|(?<=-c))(?P<path>\S.*)"
)
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s*=\s*|\s+)(?P<path>\S.*)")
_LINKS = re.compile(r"(?:-f|--find-links)(?:\s*=\s*|\s+)(?P<path>\S.*)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://)?\S*")
_DIRECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?\s*@\s*file:(?P<path>\S+)")
_ARCHIVE = re.compile(r"\S+\.(?:whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)(?=\s|$|\[)")
# What `pip freeze` writes of packages that can be had anywhere.
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9._,-]+\])?===?[A-Za-z0-9.!+*_-]+")
_TORCH_BUILD = re.compile(r"torch\w*==[^+]*\+(?P<build>cu\d{2,3}|cpu|rocm[\d.]+)")
_MOST_FILES = 200


@dataclass(slots=True, kw_only=True)
class Needs:
    """`files` are requirements and constraints files, in the order they are met, `constraints` the latter
    alone; `local` are folders and archives of the job's own that are installed. `lines` is all that the files
    say but for those, as one file in a folder just below the root would say it."""

    files: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    local: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def needs_of(path: str, read: Callable[[str], str | None]) -> Needs:
    """Follow a requirements file. `read` gives a file's text by its path below the context's root, None where
    it is missing or left out. Raises ImageError for what is missing or leads out of the context."""
    needs = Needs()
    _follow(path, read, needs, is_constraint=False)
    return needs


def needs_of_lines(lines: list[str], folder: str, read: Callable[[str], str | None]) -> Needs:
    """The same of lines that stand in another file, such as the pip part of an environment.yml."""
    needs = Needs()
    for line in lines:
        _look_at(line.strip(), folder, read, needs, place="environment.yml")
    return needs


def frozen(text: str) -> tuple[str, int]:
    """The lines of a `pip freeze` that another machine can install, with the index that PyTorch's own builds
    are at; and how many were left out (local folders, other people's disks)."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if _PINNED.fullmatch(line)]
    dropped = sum(bool(line) and not line.startswith("#") for line in lines) - len(kept)
    builds = sorted({found["build"] for line in kept if (found := _TORCH_BUILD.fullmatch(line))})
    indexes = [f"--extra-index-url https://download.pytorch.org/whl/{build}" for build in builds]
    return "".join(f"{line}\n" for line in [*indexes, *kept]), dropped


def _follow(path: str, read: Callable[[str], str | None], needs: Needs, *, is_constraint: bool) -> None:
    if path in needs.files:
        return
    text = read(path)
    if text is None:
        raise ImageError(
            f"the job's requirements draw in {path!r}, which is not in its code",
            hint="add the file, or see whether .dockerignore leaves it out",
        )
    needs.files.append(path)
    if is_constraint:
        needs.constraints.append(path)
    if len(needs.files) > _MOST_FILES:
        raise ImageError(f"the job's requirements draw in more than {_MOST_FILES} files")
    for line in _logical(text):
        _look_at(line, posixpath.dirname(path), read, needs, place=path, is_constraint=is_constraint)


def _look_at(
    line: str,
    folder: str,
    read: Callable[[str], str | None],
    needs: Needs,
    *,
    place: str,
    is_constraint: bool = False,
) -> None:
    found = _FILE_OPTION.fullmatch(line)
    other = found["path"].strip("\"' ") if found else ""
    if found and not _URL.fullmatch(other):
        constrains = is_constraint or line.lstrip("-").startswith("c")
        path = _within(other, folder, place)
        _follow(path, read, needs, is_constraint=constrains)
        if constrains and not is_constraint:
            needs.lines.append(f"--constraint ../{path}")
        return
    links = _LINKS.fullmatch(line)
    local = links["path"] if links and not _URL.fullmatch(links["path"]) else _local_path(line)
    if local is not None:
        # pip takes these from the folder it runs in, which is the context's root.
        needs.local.append(_within(local, "", place))
    elif not is_constraint:
        needs.lines.append(line)


def _local_path(line: str) -> str | None:
    """The folder or archive of the job's own that a line installs; None for what comes from elsewhere."""
    found = _EDITABLE.fullmatch(line)
    text = (found["path"] if found else line).split(";")[0].strip().strip("\"'")
    direct = _DIRECT.match(text)
    if direct:
        return direct["path"].removeprefix("//")
    if text.startswith("-") or _URL.fullmatch(text.split(" ")[0]) or "://" in text.split("#")[0]:
        return None
    text = text.split(" --")[0].split("[")[0].strip() or "."
    if found or text.startswith((".", "/")) or ("/" in text and "@" not in text) or _ARCHIVE.fullmatch(text):
        return text
    return None


def _within(path: str, folder: str, place: str) -> str:
    joined = posixpath.normpath(posixpath.join(folder, path))
    if posixpath.isabs(joined) or joined == ".." or joined.startswith("../"):
        raise ImageError(
            f"{place} of the job names {path[:200]!r}, which is outside of its code",
            hint="use paths within the job's code",
        )
    return joined


def _logical(text: str) -> Iterator[str]:
    """Lines as pip reads them: joined where one ends in a backslash, without comments."""
    pending = ""
    for line in text.removeprefix("\ufeff").splitlines():
        if line.lstrip().startswith("#") and not pending:
            continue
        whole = pending + line
        if whole.endswith("\\"):
            pending = whole[:-1]
            continue
        pending = ""
        if said := _COMMENT.sub("", whole).strip():
            yield said
    if said := _COMMENT.sub("", pending).strip():
        yield said
