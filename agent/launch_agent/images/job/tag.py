"""Names a build by its content: equal content, equal name, on every machine; and never the other way round.

The name is the beginning of a SHA-256 over everything that can change the image: each file's path, kind,
content and whether it can be run, which Dockerfile is used, build arguments and platform. Each part is
written with its length, so that no two different contexts are written alike. Commit, job, project and time
are no part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from launch_agent.errors import ImageError
from launch_agent.images.job.tree import Entry

# 160 bits: as long as a Git commit's id, and well within the 128 characters of a tag.
_DIGITS = 40
_VERSION = b"launch-agent build 1"
_CHUNK = 1024 * 1024


def tag(
    root: Path,
    entries: Iterable[Entry],
    *,
    dockerfile: str,
    build_args: Mapping[str, str],
    platform: str,
) -> str:
    """40 hex digits. Reads every file once. Raises ImageError where one cannot be read."""
    whole = hashlib.sha256()

    def add(*parts: bytes) -> None:
        for part in parts:
            whole.update(len(part).to_bytes(8))
            whole.update(part)

    add(_VERSION, dockerfile.encode(), platform.encode(), str(len(build_args)).encode())
    for name, value in sorted(build_args.items()):
        add(name.encode(), value.encode())
    for entry in sorted(entries, key=lambda each: each.path.encode()):
        if entry.is_link:
            add(b"link", entry.path.encode(), entry.target.encode("utf-8", "surrogateescape"))
        else:
            kind = b"program" if entry.is_executable else b"file"
            add(kind, entry.path.encode(), _content(root, entry))
    return whole.hexdigest()[:_DIGITS]


def _content(root: Path, entry: Entry) -> bytes:
    if entry.content is not None:
        return hashlib.sha256(entry.content).digest()
    digest = hashlib.sha256()
    try:
        with (root / entry.path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise ImageError(f"reading {entry.path!r} of the job's code: {error.strerror}") from error
    return digest.digest()
