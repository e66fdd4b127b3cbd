"""The list of an artifact's files, checked before the first of them is fetched.

A path that leaves the folder, a file that lies somewhere else than the backend, and a list that does not have
the artifact's digest are refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.errors import SourceError

_MOST_FILES = 200_000
_LONGEST_PATH = 1024
_PART = re.compile(r"[^/:\x00-\x1f\x7f]{1,128}")
_MD5_BYTES = 16
# What the official client hashes before the files (its manifest's first version).
_HEADER = b"wandb-artifact-manifest-v1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """`entity/project/collection:alias`."""

    entity: str
    project: str
    collection: str
    alias: str

    @classmethod
    def parse(cls, text: str) -> Name:
        """Without an alias the newest version is meant. Raises SourceError."""
        path, _, alias = text.strip().partition(":")
        parts = path.split("/")
        if len(parts) != 3 or not all(_PART.fullmatch(part) for part in [*parts, alias or "latest"]):
            raise SourceError(
                f"{text[:200]!r} is not the name of a job or artifact",
                hint="the form is entity/project/name:alias",
            )
        return cls(entity=parts[0], project=parts[1], collection=parts[2], alias=alias or "latest")

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.collection}:{self.alias}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An artifact of the backend. `name` has its version for an alias; `digest` is empty where unknown."""

    id: str
    name: Name
    type: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file. `md5` is hexadecimal, empty where the client took another algorithm; `size` is in bytes."""

    path: str
    md5: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`content` names the files and what is in them."""

    entries: Mapping[str, Entry]
    content: str

    @classmethod
    def read(cls, raw: object, found: Found, *, largest: int) -> Manifest:
        """Raises SourceError. `largest` is how many bytes all files may have."""
        contents = raw.get("contents") if isinstance(raw, Mapping) else None
        if not isinstance(contents, Mapping):
            raise _wrong(found, "its manifest has no contents")
        if len(contents) > _MOST_FILES:
            raise _wrong(found, f"it has {len(contents)} files, {_MOST_FILES} at most")
        entries = {path: _entry(path, value, found) for path, value in contents.items()}
        size = sum(entry.size for entry in entries.values())
        if size > largest:
            raise _wrong(found, f"its files have {size} bytes, {largest} at most")
        _check_digest(contents, found)
        content = hashlib.sha256()
        for path, value in sorted(contents.items()):
            content.update(f"{path}\0{value.get('digest')}\0{value.get('size')}\n".encode())
        return cls(entries=entries, content=content.hexdigest())


def _entry(path: str, value: Any, found: Found) -> Entry:
    parts = path.split("/")
    is_plain = all(part not in ("", ".", "..") and part.isprintable() for part in parts)
    if not is_plain or len(path) > _LONGEST_PATH or "\\" in path:
        raise _wrong(found, f"its file {path[:100]!r} would not stay in the folder, or has no usable name")
    if not isinstance(value, Mapping):
        raise _wrong(found, f"its manifest says nothing of the file {path!r}")
    if value.get("ref"):
        where = str(value["ref"]).partition("://")[0][:20]
        raise _wrong(found, f"its file {path!r} is a reference ({where}), which the agent does not follow")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        size = 0 if size is None else -1
    if size < 0:
        raise _wrong(found, f"its manifest gives no size of {path!r}")
    return Entry(path=path, md5=_md5(path, value, found), size=size)


def _md5(path: str, value: Mapping[str, Any], found: Found) -> str:
    if _is_other_algorithm(value):
        return ""  # a checksum against accidents only, for which the size has to do
    try:
        raw = base64.b64decode(str(value.get("digest")), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(found, f"its manifest gives no checksum of {path!r}") from error
    if len(raw) != _MD5_BYTES:
        raise _wrong(found, f"its manifest gives no checksum of {path!r}")
    return raw.hex()


def _check_digest(contents: Mapping[str, Mapping[str, Any]], found: Found) -> None:
    """The artifact's digest, as far as it is one that Python can make."""
    if not re.fullmatch(r"[0-9a-f]{32}", found.digest):
        return
    if any(_is_other_algorithm(value) for value in contents.values()):
        return
    digest = hashlib.md5(_HEADER, usedforsecurity=False)
    for path, value in sorted(contents.items()):
        digest.update(f"{path}:{value.get('digest')}\n".encode())
    if digest.hexdigest() != found.digest:
        raise SourceError(
            f"the manifest of {found.name} does not have the artifact's digest: it was changed on its way",
            retryable=True,
        )


def _is_other_algorithm(value: Mapping[str, Any]) -> bool:
    extra = value.get("extra")
    return isinstance(extra, Mapping) and "xxh" in str(extra.get("alg", "")).lower()


def _wrong(found: Found, why: str) -> SourceError:
    return SourceError(f"the artifact {found.name} cannot be used: {why}")
