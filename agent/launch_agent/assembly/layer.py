"""Entries as a layer: a gzip'd tar archive that is the same, byte for byte, on every machine.

Entries are sorted, their folders are put in where they are missing, and time, owner and header format are
fixed. Compression is zlib's: two machines agree where their zlib does, which holds for zlib itself and not
between zlib and zlib-ng; the uncompressed digest (`diff_id`) agrees always.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from launch_agent.assembly.entries import Entry, Kind
from launch_agent.clients.oci.model import OCI_LAYER, Descriptor
from launch_agent.errors import ImageError

# 1980-01-01, the first day that zip archives (wheels) can tell.
EPOCH = 315_532_800
_LEVEL = 6
_CHUNK = 1 << 20
_TYPES = {Kind.FILE: tarfile.REGTYPE, Kind.FOLDER: tarfile.DIRTYPE, Kind.LINK: tarfile.SYMTYPE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose the files of a layer are. Group 0 with the owner's rights is what OpenShift's users have."""

    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer on disk. `size` is that of its content in bytes, `title` says what is in it."""

    descriptor: Descriptor
    diff_id: str
    path: Path
    size: int
    title: str
    files: int


def write(
    entries: Iterable[Entry],
    into: Path,
    *,
    title: str,
    owner: Owner = Owner(),
    below: str = "",
    belong: Collection[str] = (),
    epoch: int = EPOCH,
    check: Callable[[], object] = lambda: None,
) -> Layer:
    """Write a layer to the file `into`. `epoch` is the time of every entry, in seconds since 1970. `check` is
    called before each entry; what it raises ends the work.

    With `below`, `owner` has that path and what lies under it, with `belong` these paths alone; the rest is
    root's. An entry that comes twice is the later one. Raises ImageError where a file cannot be read or
    changes its size meanwhile, and where a file is to be a folder too.
    """
    ordered = _whole(entries)
    size = files = 0
    try:
        with into.open("wb") as file:
            outer = _Digesting(file)
            with gzip.GzipFile("", "wb", _LEVEL, cast(IO[bytes], outer), mtime=0) as packed:
                inner = _Digesting(cast(IO[bytes], packed))
                with tarfile.open(
                    fileobj=cast(IO[bytes], inner), mode="w|", format=tarfile.PAX_FORMAT
                ) as tar:
                    for entry in ordered:
                        check()
                        is_theirs = _belongs(entry.path, below, belong)
                        size += _add(tar, entry, owner if is_theirs else Owner(), epoch)
                        files += entry.kind is Kind.FILE
    except OSError as error:
        raise ImageError(f"cannot write the layer {title!r}: {error}") from error
    digest = f"sha256:{outer.digest.hexdigest()}"
    return Layer(
        descriptor=Descriptor(media_type=OCI_LAYER, digest=digest, size=outer.written),
        diff_id=f"sha256:{inner.digest.hexdigest()}",
        path=into,
        size=size,
        title=title,
        files=files,
    )


def _belongs(path: str, below: str, alone: Collection[str]) -> bool:
    if alone:
        return path in alone
    return not below or PurePosixPath(path).is_relative_to(below)


class _Digesting:
    """What gzip and tar write to: hashes and counts, and hands on."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.digest = hashlib.sha256()
        self.written = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.written += len(data)
        self._out.write(data)
        return len(data)

    def flush(self) -> None: ...


def _whole(entries: Iterable[Entry]) -> list[Entry]:
    """Every path once, in order, with the folders above each."""
    found: dict[str, Entry] = {}
    for entry in entries:
        known = found.get(entry.path)
        if known is not None and (known.kind is Kind.FOLDER) != (entry.kind is Kind.FOLDER):
            raise ImageError(f"{entry.path} is to be a {known.kind.value} and a {entry.kind.value} at once")
        found[entry.path] = entry
    for path in list(found):
        for parent in PurePosixPath(path).parents:
            if str(parent) == ".":
                continue
            above = found.setdefault(str(parent), Entry(path=str(parent), kind=Kind.FOLDER, mode=0o755))
            if above.kind is not Kind.FOLDER:
                raise ImageError(f"{above.path} is a {above.kind.value}, and {path} is to lie below it")
    return [found[path] for path in sorted(found, key=lambda each: PurePosixPath(each).parts)]


def _add(tar: tarfile.TarFile, entry: Entry, owner: Owner, epoch: int) -> int:
    info = tarfile.TarInfo(entry.path)
    info.type = _TYPES[entry.kind]
    info.mode, info.mtime = entry.mode, epoch
    info.uid, info.gid = owner.uid, owner.gid
    info.linkname = entry.target
    if entry.kind is not Kind.FILE:
        tar.addfile(info)
        return 0
    if entry.source is None:
        info.size = len(entry.content)
        tar.addfile(info, io.BytesIO(entry.content))
        return info.size
    with entry.source.open("rb") as content:
        info.size = content.seek(0, io.SEEK_END)
        content.seek(0)
        tar.addfile(info, content)  # raises OSError where there is less than that
        if content.read(1):
            raise ImageError(f"{entry.source} grows while it is read")
    return info.size
