"""Images on disk: OCI layouts (a folder) and archives that `docker load` takes.

A layout is written beside its place and moved there whole, so that one that was cut off is none: a second run
writes it anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from launch_agent.assembly.image import Base, Image
from launch_agent.assembly.layer import EPOCH
from launch_agent.clients.oci.model import OCI_INDEX, Descriptor, Manifest, Platform
from launch_agent.errors import ImageError

_MARK = {"imageLayoutVersion": "1.0.0"}
_REFERENCE = "org.opencontainers.image.ref.name"
_NAME = "io.containerd.image.name"
_CHUNK = 1 << 20
ReadBlob = Callable[[Descriptor], Iterable[bytes]]


def write(
    images: Sequence[Image],
    into: Path,
    *,
    read_base: ReadBlob,
    reference: str = "",
    index: Manifest | None = None,
) -> None:
    """Write an OCI layout into the folder `into`, which must be empty or absent.

    `read_base` gives the bytes of a base's layer. `index` is the index of the images where there are several.
    Raises ImageError where the folder holds something else than a layout of an earlier run, and whatever
    `read_base` raises.
    """
    if into.exists() and not _may_be_replaced(into):
        raise ImageError(
            f"{into} is not empty, and no image layout of launch-agent",
            hint="name another folder, or empty this one",
        )
    into.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{into.name}.", dir=into.parent))
    try:
        _fill(part, images, read_base, reference, index)
        if into.exists():
            shutil.rmtree(into)
        part.chmod(0o755)
        part.rename(into)
    except OSError as error:
        raise ImageError(f"cannot write the image to {into}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _may_be_replaced(folder: Path) -> bool:
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / "oci-layout").is_file())


def _fill(
    folder: Path, images: Sequence[Image], read_base: ReadBlob, reference: str, index: Manifest | None
) -> None:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for image in images:
        for layer in image.layers:
            target = blobs / _hex(layer.descriptor.digest)
            if not target.exists():
                shutil.copyfile(layer.path, target)
        for below in image.base.layers:
            target = blobs / _hex(below.digest)
            if not target.exists():
                _copy(read_base(below), target, below)
        (blobs / _hex(image.manifest.config.digest)).write_bytes(image.config)
        (blobs / _hex(image.digest)).write_bytes(image.manifest.content)
    if index is not None:
        (blobs / _hex(index.digest)).write_bytes(index.content)
    top = index or images[0].manifest
    platform = None if index is not None else images[0].platform
    named = Descriptor(
        media_type=top.descriptor.media_type,
        digest=top.digest,
        size=top.descriptor.size,
        platform=platform,
        annotations={_REFERENCE: reference.rpartition(":")[2], _NAME: reference} if reference else {},
    )
    listing = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [named.to_json()]}
    (folder / "index.json").write_text(json.dumps(listing, sort_keys=True))
    # Last: without it the folder is no layout.
    (folder / "oci-layout").write_text(json.dumps(_MARK))


def _copy(chunks: Iterable[bytes], into: Path, expected: Descriptor) -> None:
    digest = hashlib.sha256()
    with into.open("wb") as out:
        for chunk in chunks:
            digest.update(chunk)
            out.write(chunk)
    if f"sha256:{digest.hexdigest()}" != expected.digest:
        raise ImageError(f"a layer of the base is not what its digest {expected.digest} says")


class Layout:
    """An OCI layout on disk, as a base to build on. Raises ImageError where it is none, or broken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            mark = json.loads((folder / "oci-layout").read_bytes())
            self._index = Manifest.parse((folder / "index.json").read_bytes(), OCI_INDEX)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"{folder} is no OCI image layout: {error}",
                hint="it holds the files oci-layout and index.json",
            ) from error
        if not str(mark.get("imageLayoutVersion", "")).startswith("1."):
            raise ImageError(f"{folder} is an image layout of a version that is not known: {mark}")

    def manifest(self, platform: Platform) -> Manifest:
        """The layout's one image, or the one for the platform."""
        found = self._index
        for _ in range(3):
            entries = found.entries
            chosen = entries[0] if len(entries) == 1 else found.pick(platform)
            found = Manifest.parse(b"".join(self.read(chosen)), chosen.media_type)
            if not found.is_index:
                return found
        raise ImageError(f"{self._folder} holds an index of indexes of indexes")

    def base(self, platform: Platform) -> Base:
        manifest = self.manifest(platform)
        try:
            config = json.loads(b"".join(self.read(manifest.config)))
        except ValueError as error:
            raise ImageError(f"the image in {self._folder} has no configuration: {error}") from error
        return Base.of(str(self._folder), manifest, config)

    def read(self, blob: Descriptor) -> Iterator[bytes]:
        """The bytes of a blob. Raises ImageError where it is not there."""
        try:
            with (self._folder / "blobs" / "sha256" / _hex(blob.digest)).open("rb") as content:
                while chunk := content.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise ImageError(
                f"the image layout {self._folder} lacks {blob.digest}: {error.strerror}"
            ) from error


def write_archive(image: Image, into: Path, *, read_base: ReadBlob, reference: str) -> None:
    """Write one image as an archive for `docker load` and `ctr images import`; there whole or not at all."""
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{into.name}.", dir=into.parent) as folder:
        inner = Path(folder, "layout")
        inner.mkdir()
        _fill(inner, [image], read_base, reference, None)
        layers = [*image.base.layers, *(layer.descriptor for layer in image.layers)]
        docker = [
            {
                "Config": f"blobs/sha256/{_hex(image.manifest.config.digest)}",
                "RepoTags": [reference] if reference else [],
                "Layers": [f"blobs/sha256/{_hex(layer.digest)}" for layer in layers],
            }
        ]
        part = Path(folder, "archive")
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, "manifest.json", json.dumps(docker).encode())
            for path in sorted(inner.rglob("*")):
                if path.is_file():
                    _add_file(tar, str(path.relative_to(inner)), path)
        part.replace(into)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), EPOCH
    tar.addfile(info, io.BytesIO(content))


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = path.stat().st_size, EPOCH
    with path.open("rb") as content:
        tar.addfile(info, content)


def _hex(digest: str) -> str:
    algorithm, _, text = digest.partition(":")
    if algorithm != "sha256" or len(text) != 64 or not text.isalnum():
        raise ImageError(f"{digest!r} is no sha256 digest")
    return text
