"""A build context as a tar archive, made piece by piece: memory does not grow with it.

The archive is the same byte for byte for the same content: no dates, no owners, no modes but "can be run".
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from launch_agent.errors import ImageError
from launch_agent.images.job.tree import Entry

# The second day of 1980: tools that make zip files, wheels among them, know no earlier one in any time zone.
_MOMENT = 315_619_200
_CHUNK = 1024 * 1024
_BLOCK = 512
_GZIP = 16 + zlib.MAX_WBITS


def pack(root: Path, entries: Iterable[Entry], *, below: str = "", is_open: bool = False) -> Iterator[bytes]:
    """The archive's bytes. Raises ImageError where a file cannot be read, or changes meanwhile.

    `below` is a folder that everything is put into; what that lies in is left to who unpacks. With `is_open`
    everybody may write to what is in the archive.
    """
    folders = {str(parent) for parent in PurePosixPath(below).parents}
    more = 0o022 if is_open else 0
    if below:
        folders.add(below)
        yield _header(below, tarfile.DIRTYPE, 0o755 | more)
    for entry in entries:
        path = f"{below}/{entry.path}" if below else entry.path
        for parent in reversed(PurePosixPath(path).parents):
            name = str(parent)
            if name != "." and name not in folders:
                folders.add(name)
                yield _header(name, tarfile.DIRTYPE, 0o755 | more)
        if entry.is_link:
            yield _header(path, tarfile.SYMTYPE, 0o777, target=entry.target)
            continue
        mode = 0o755 if entry.is_executable else 0o644
        yield _header(path, tarfile.REGTYPE, mode | more, size=entry.size)
        yield from _content(root, entry)
        yield bytes(-entry.size % _BLOCK)
    yield bytes(2 * _BLOCK)


def gzipped(pieces: Iterable[bytes], *, level: int = 1) -> Iterator[bytes]:
    """The same compressed, again piece by piece. Level 1: a context travels once, and mostly over a fast
    line."""
    packer = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def _content(root: Path, entry: Entry) -> Iterator[bytes]:
    if entry.content is not None:
        yield entry.content
        return
    missing = entry.size
    try:
        with (root / entry.path).open("rb") as file:
            while missing and (chunk := file.read(min(_CHUNK, missing))):
                missing -= len(chunk)
                yield chunk
    except OSError as error:
        raise ImageError(f"reading {entry.path!r} of the job's code: {error.strerror}") from error
    if missing:
        raise ImageError(f"{entry.path!r} of the job's code became shorter while it was read")


def _header(name: str, kind: bytes, mode: int, *, size: int = 0, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname, info.mtime = kind, mode, size, target, _MOMENT
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
