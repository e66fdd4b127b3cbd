"""Images on disk: OCI layouts (a folder) and archives that `docker load` takes.

Either is written beside its place and moved there whole, so that what was cut off is none: a second run
writes it anew, and removes what the first has left.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from launch_agent.assembly.attachment import Attachment
from launch_agent.assembly.image import Image
from launch_agent.assembly.layer import EPOCH
from launch_agent.assembly.origin import hex_of
from launch_agent.clients.oci.model import OCI_INDEX, Descriptor, Manifest
from launch_agent.errors import ImageError

_MARK = {"imageLayoutVersion": "1.0.0"}
_REFERENCE = "org.opencontainers.image.ref.name"
_NAME = "io.containerd.image.name"
_PREFIX = ".image-"
# What was begun longer ago than any image takes is what a killed process has left.
_STALE_SECONDS = 3600.0
ReadBlob = Callable[[Descriptor], Iterable[bytes]]


def write(
    images: Sequence[Image],
    into: Path,
    *,
    read_base: ReadBlob,
    reference: str = "",
    index: Manifest | None = None,
    attached: Sequence[Attachment] = (),
) -> None:
    """Write an OCI layout into the folder `into`, which must be empty or absent.

    `read_base` gives the bytes of a base's layer. `index` is the index of the images where there are several,
    `attached` is what is said of them.
    Raises ImageError where the folder holds something else than a layout of an earlier run, and whatever
    `read_base` raises.
    """
    if into.exists() and not _may_be_replaced(into):
        raise ImageError(
            f"{into} is not empty, and no image layout of launch-agent",
            hint="name another folder, or empty this one",
        )
    part = _beside(into)
    try:
        _fill(part, images, read_base, reference, index, attached)
        if into.exists():
            shutil.rmtree(into)
        part.chmod(0o755)
        part.rename(into)
    except OSError as error:
        raise _unwritten(into, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _beside(into: Path) -> Path:
    """A new folder beside a path; what earlier runs that were cut off have left there is removed."""
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        for left in into.parent.glob(f"{glob.escape(_PREFIX + into.name)}.*"):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{into.name}.", dir=into.parent))
    except OSError as error:
        raise _unwritten(into, error) from error


def _unwritten(into: Path, error: OSError) -> ImageError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ImageError(
        f"cannot write the image to {into}: {error.strerror or error}",
        hint="make room, or name a folder with room; nothing is left there" if full else "",
    )


def _may_be_replaced(folder: Path) -> bool:
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / "oci-layout").is_file())


def _fill(
    folder: Path,
    images: Sequence[Image],
    read_base: ReadBlob,
    reference: str,
    index: Manifest | None,
    attached: Sequence[Attachment] = (),
) -> None:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for image in images:
        for layer in image.layers:
            target = blobs / hex_of(layer.descriptor.digest)
            if not target.exists():
                shutil.copyfile(layer.path, target)
        for below in image.base.layers:
            target = blobs / hex_of(below.digest)
            if not target.exists():
                _copy(read_base(below), target, below)
        (blobs / hex_of(image.manifest.config.digest)).write_bytes(image.config)
        (blobs / hex_of(image.digest)).write_bytes(image.manifest.content)
    for each in attached:
        for digest, content in (*each.blobs.items(), (each.manifest.digest, each.manifest.content)):
            (blobs / hex_of(digest)).write_bytes(content)
    if index is not None:
        (blobs / hex_of(index.digest)).write_bytes(index.content)
    top = index or images[0].manifest
    platform = None if index is not None else images[0].platform
    named = Descriptor(
        media_type=top.descriptor.media_type,
        digest=top.digest,
        size=top.descriptor.size,
        platform=platform,
        annotations={_REFERENCE: reference.rpartition(":")[2], _NAME: reference} if reference else {},
    )
    entries = [named.to_json(), *(each.listed.to_json() for each in attached)]
    listing = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
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


def write_archive(
    image: Image, into: Path, *, read_base: ReadBlob, reference: str, attached: Sequence[Attachment] = ()
) -> None:
    """Write one image as an archive for `docker load` and `ctr images import`; there whole or not at all.
    Raises ImageError."""
    folder = _beside(into)
    try:
        _archive(folder, image, into, read_base, reference, attached)
    except OSError as error:
        raise _unwritten(into, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _archive(
    folder: Path,
    image: Image,
    into: Path,
    read_base: ReadBlob,
    reference: str,
    attached: Sequence[Attachment],
) -> None:
    inner = folder / "layout"
    inner.mkdir()
    _fill(inner, [image], read_base, reference, None, attached)
    layers = [*image.base.layers, *(layer.descriptor for layer in image.layers)]
    docker = [
        {
            "Config": f"blobs/sha256/{hex_of(image.manifest.config.digest)}",
            "RepoTags": [reference] if reference else [],
            "Layers": [f"blobs/sha256/{hex_of(layer.digest)}" for layer in layers],
        }
    ]
    part = folder / "archive"
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
