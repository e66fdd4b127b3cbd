"""What is kept between builds, by its content: layers that were made, and blobs of base images.

A cache only saves time: what is damaged in it is made or fetched anew, what cannot be written to it is used
without it, and what was not used for longest goes once it is too large.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from launch_agent.assembly.layer import Layer
from launch_agent.assembly.origin import Origin, hex_of
from launch_agent.clients.oci.model import Descriptor, Manifest
from launch_agent.errors import ImageError

_LARGEST = 8 * 1024**3
_CHUNK = 1 << 20
_FILE, _TOLD = "layer.tar.gz", "layer.json"


def layer(folder: Path, key: str, make: Callable[[Path], tuple[Layer, Any]]) -> tuple[Layer, Any]:
    """The layer that was made under `key` (a name of a file), or the one that `make` writes now, with what
    else it hands back as JSON: it is given the path of the layer's file. Raises ImageError."""
    kept = folder / key
    if found := _read(kept):
        with contextlib.suppress(OSError):
            os.utime(kept)
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
    except OSError as error:
        raise _full(folder, error) from error
    try:
        made, more = make(part / _FILE)
        told = {"digest": made.descriptor.digest, "packed": made.descriptor.size, "diff_id": made.diff_id}
        told |= {"type": made.descriptor.media_type, "size": made.size, "files": made.files}
        (part / _TOLD).write_text(json.dumps({**told, "title": made.title, "more": more}))
        if _read(kept) is None:
            shutil.rmtree(kept, ignore_errors=True)  # cut off, or half removed
            with contextlib.suppress(OSError):  # somebody else was faster
                part.rename(kept)
    except OSError as error:
        raise _full(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    make_room(folder, kept)
    if found := _read(kept):
        return found
    raise ImageError(f"a layer cannot be kept in {folder}", hint="is there room, and a right to write?")


def _full(folder: Path, error: OSError) -> ImageError:
    return ImageError(
        f"a layer cannot be written to {folder}: {error.strerror or error}",
        hint="make room there, or set XDG_CACHE_HOME to a folder with room",
    )


def _read(kept: Path) -> tuple[Layer, Any] | None:
    try:
        told = json.loads((kept / _TOLD).read_text())
        path = kept / _FILE
        if path.stat().st_size != told["packed"]:
            return None
        described = Descriptor(media_type=told["type"], digest=told["digest"], size=told["packed"])
        found = Layer(
            descriptor=described,
            diff_id=told["diff_id"],
            path=path,
            size=told["size"],
            title=told["title"],
            files=told["files"],
        )
        return found, told["more"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_room(folder: Path, newest: Path, largest: int = _LARGEST) -> None:
    """Drop what was not used for longest, until the rest has at most so many bytes."""
    kept = []
    for each in folder.iterdir():
        with contextlib.suppress(OSError):
            files = [file for file in each.rglob("*") if file.is_file()] if each.is_dir() else [each]
            kept.append((each.stat().st_mtime, sum(file.stat().st_size for file in files), each))
    total = sum(size for _, size, _ in kept)
    for _, size, each in sorted(kept):
        if total <= largest:
            return
        if each != newest and not each.name.startswith("."):
            total -= size
            with contextlib.suppress(OSError):
                shutil.rmtree(each) if each.is_dir() else each.unlink()


class Kept:
    """An origin whose blobs and manifests are kept in a folder once they were read whole. With a digest in
    its name, the origin itself is asked for nothing that is there."""

    def __init__(self, inner: Origin, folder: Path, digest: str = "") -> None:
        self._inner = inner
        self._folder = folder
        self._digest = digest

    @property
    def name(self) -> str:
        return self._inner.name

    def top(self) -> Manifest:
        if not self._digest:
            return self._inner.top()
        return self._manifest(self._digest, self._inner.top)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        return self._manifest(descriptor.digest, lambda: self._inner.manifest(descriptor))

    def referrers(self) -> Sequence[Descriptor]:
        return self._inner.referrers()

    def read(self, blob: Descriptor) -> Iterator[bytes]:
        path = self._folder / hex_of(blob.digest)
        if _is(path, blob.digest):
            with path.open("rb") as content:
                while chunk := content.read(_CHUNK):
                    yield chunk
            return
        yield from self._keeping(blob, path)

    def _keeping(self, blob: Descriptor, path: Path) -> Iterator[bytes]:
        with contextlib.ExitStack() as stack:
            part = None
            with contextlib.suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                number, name = tempfile.mkstemp(prefix=".reading-", dir=self._folder)
                part = stack.enter_context(os.fdopen(number, "wb"))
                stack.callback(Path(name).unlink, missing_ok=True)
            for chunk in self._inner.read(blob):
                if part is not None:
                    try:
                        part.write(chunk)
                    except OSError:
                        part = None
                yield chunk
            if part is not None:
                with contextlib.suppress(OSError):
                    part.flush()
                    Path(name).replace(path)
                    make_room(self._folder, path)

    def _manifest(self, digest: str, ask: Callable[[], Manifest]) -> Manifest:
        path = self._folder / hex_of(digest)
        if _is(path, digest):
            with contextlib.suppress(OSError, ValueError):
                return Manifest.parse(path.read_bytes(), "")
        found = ask()
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = path.with_name(f".{path.name}-{os.getpid()}")
            part.write_bytes(found.content)
            part.replace(path)
        return found


def _is(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as content:
            return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}" == digest
    except OSError:
        return False
