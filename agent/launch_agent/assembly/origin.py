"""Where images are read from: a registry, an OCI layout, an archive of `docker save` or of ours.

All three answer alike, so that a base image, an image to be looked into and one to be pushed may come from
any of them. An archive is read in its place, by the positions of its files; nothing is unpacked.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from launch_agent.assembly.image import Base
from launch_agent.clients.oci.model import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
)
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import ImageError

_CHUNK = 1 << 20
_LARGEST_CONFIG = 16 << 20
# What an index of indexes may be nested to.
_DEPTH = 3


class Origin(Protocol):
    """A place that holds an image, or several for several platforms. Its methods raise ImageError or
    RegistryError for what is not there or broken."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def top(self) -> Manifest:
        """The image, or the index of images."""
        ...

    def manifest(self, descriptor: Descriptor) -> Manifest: ...

    def read(self, blob: Descriptor) -> Iterator[bytes]:
        """The bytes of a blob. Nobody has checked them against its digest, unless the end was reached."""
        ...

    def referrers(self) -> Sequence[Descriptor]:
        """Manifests that lie beside the images and tell of them; a registry's are asked for elsewhere."""
        ...


class InRegistry:
    """What a tag or digest of a repository names."""

    def __init__(self, repository: Repository, reference: str) -> None:
        self.repository = repository
        self._reference = reference

    @property
    def name(self) -> str:
        return f"{self.repository}{'@' if ':' in self._reference else ':'}{self._reference}"

    def top(self) -> Manifest:
        return self.repository.manifest(self._reference)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        return self.repository.manifest(descriptor.digest)

    def read(self, blob: Descriptor) -> Iterator[bytes]:
        return self.repository.read_blob(blob)

    def referrers(self) -> Sequence[Descriptor]:
        return ()


class Layout:
    """An OCI layout: a folder, or an archive (a tar file) that holds one.

    Archives of older Docker engines hold none; of those a manifest is made, whose layers are as they lie
    there. Raises ImageError where it is no image, or broken.
    """

    def __init__(self, place: Path) -> None:
        self.name = str(place)
        self._files: _Folder | _Archive = _Folder(place) if place.is_dir() else _Archive(place)
        self._made: dict[str, str] = {}
        if not self._files.has("oci-layout") and self._files.has("manifest.json"):
            self._index = self._of_docker()
            return
        try:
            mark = json.loads(self._files.whole("oci-layout"))
            self._index = Manifest.parse(self._files.whole("index.json"), OCI_INDEX)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"{place} is no OCI image layout: {error}",
                hint="it holds the files oci-layout and index.json",
            ) from error
        if not str(mark.get("imageLayoutVersion", "")).startswith("1."):
            raise ImageError(f"{place} is an image layout of a version that is not known: {mark}")

    def top(self) -> Manifest:
        images = [each for each in self._index.entries if not each.artifact_type]
        if not images:
            raise ImageError(f"{self.name} is an image layout without an image")
        return self.manifest(images[0]) if len(images) == 1 else self._index

    def referrers(self) -> Sequence[Descriptor]:
        return tuple(each for each in self._index.entries if each.artifact_type)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        try:
            return Manifest.parse(b"".join(self.read(descriptor)), descriptor.media_type)
        except ValueError as error:
            raise ImageError(f"{descriptor.digest} in {self.name} is no manifest: {error}") from error

    def read(self, blob: Descriptor) -> Iterator[bytes]:
        path = self._made.get(blob.digest) or f"blobs/sha256/{hex_of(blob.digest)}"
        digest = hashlib.sha256()
        try:
            for chunk in self._files.chunks(path):
                digest.update(chunk)
                yield chunk
        except OSError as error:
            reason = error.strerror or error
            raise ImageError(f"the image layout {self.name} lacks {blob.digest}: {reason}") from error
        if f"sha256:{digest.hexdigest()}" != blob.digest:
            raise ImageError(f"{blob.digest} in {self.name} is not what its digest says")

    def _of_docker(self) -> Manifest:
        try:
            (image,) = json.loads(self._files.whole("manifest.json"))
            config = self._described(str(image["Config"]), OCI_CONFIG)
            kind = "application/vnd.oci.image.layer.v1.tar"
            layers = [self._described(str(path), kind) for path in image["Layers"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ImageError(f"{self.name} is no archive of one Docker image: {error}") from error
        value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.to_json()}
        manifest = Manifest.make(value | {"layers": [layer.to_json() for layer in layers]})
        self._files.put(f"blobs/sha256/{hex_of(manifest.digest)}", manifest.content)
        entries = [manifest.descriptor.to_json()]
        return Manifest.make({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})

    def _described(self, path: str, media_type: str) -> Descriptor:
        digest, size = hashlib.sha256(), 0
        for chunk in self._files.chunks(path):
            digest.update(chunk)
            size += len(chunk)
        found = Descriptor(media_type=media_type, digest=f"sha256:{digest.hexdigest()}", size=size)
        self._made[found.digest] = path
        return found


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, path: str) -> bool:
        return (self._folder / path).is_file()

    def chunks(self, path: str) -> Iterator[bytes]:
        with (self._folder / path).open("rb") as content:
            while chunk := content.read(_CHUNK):
                yield chunk

    def whole(self, path: str) -> bytes:
        return b"".join(self.chunks(path))

    def put(self, path: str, content: bytes) -> None:
        raise ImageError(f"{self._folder} is an unpacked Docker archive: name the archive itself")


class _Archive:
    """The files of an uncompressed tar file, where they lie in it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._put: dict[str, bytes] = {}
        self._places: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        try:
            with tarfile.open(file, "r:") as archive:
                for member in archive:
                    if member.isreg():
                        self._places[member.name] = (member.offset_data, member.size)
                    elif member.issym() or member.islnk():
                        # Docker's older archives name a layer that two images share by a link.
                        links[member.name] = _joined(member)
        except (OSError, tarfile.TarError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ImageError(
                f"{file} is no image on disk: {reason}",
                hint="name an OCI layout (a folder), or an uncompressed archive of `docker save`",
            ) from error
        for name, target in links.items():
            if target in self._places:
                self._places[name] = self._places[target]

    def has(self, path: str) -> bool:
        return path in self._places

    def chunks(self, path: str) -> Iterator[bytes]:
        if path in self._put:
            yield self._put[path]
            return
        if path not in self._places:
            raise FileNotFoundError(2, f"there is no {path} in it")
        offset, left = self._places[path]
        with self._file.open("rb") as content:
            content.seek(offset)
            while left and (chunk := content.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk

    def whole(self, path: str) -> bytes:
        return b"".join(self.chunks(path))

    def put(self, path: str, content: bytes) -> None:
        self._put[path] = content


def _joined(link: tarfile.TarInfo) -> str:
    if link.islnk():
        return link.linkname
    parts = link.name.split("/")[:-1]
    for part in link.linkname.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def image(origin: Origin, platform: Platform) -> Manifest:
    """The one image, whatever its platform, or an index's for the platform."""
    found = origin.top()
    for _ in range(_DEPTH):
        if not found.is_index:
            return found
        found = origin.manifest(found.pick(platform))
    raise ImageError(f"{origin.name} holds an index of indexes of indexes")


def images(origin: Origin) -> Sequence[Manifest]:
    """All images, in the order of the index; what an index lists beside them (attestations) is left out."""
    top = origin.top()
    if not top.is_index:
        return (top,)
    entries = [each for each in top.entries if each.platform is None or each.platform.os != "unknown"]
    found = [origin.manifest(each) for each in entries if not each.artifact_type]
    return tuple(each for each in found if not each.is_index)


def config(origin: Origin, manifest: Manifest) -> Mapping[str, Any]:
    """An image's configuration."""
    described = manifest.config
    if described.size > _LARGEST_CONFIG:
        raise ImageError(f"the image {origin.name} has a configuration of {described.size} bytes")
    try:
        value = json.loads(b"".join(origin.read(described)))
    except ValueError as error:
        raise ImageError(f"the image {origin.name} has no configuration: {error}") from error
    if not isinstance(value, dict):
        raise ImageError(f"the image {origin.name} has no configuration: it is not an object")
    return value


def base(origin: Origin, platform: Platform) -> Base:
    """The image as what another is built on. Raises ImageError where it is for another platform."""
    manifest = image(origin, platform)
    found = Base.of(origin.name, manifest, config(origin, manifest))
    if not platform.runs(found.platform):
        raise ImageError(
            f"the base image {origin.name} is for {found.platform}, and {platform} is wanted",
            hint="name a base image that is made for it, or another --platform",
        )
    return found


def hex_of(digest: str) -> str:
    """The digits of a digest, safe as a file's name."""
    algorithm, _, text = digest.partition(":")
    if algorithm != "sha256" or len(text) != 64 or not text.isalnum():
        raise ImageError(f"{digest!r} is no sha256 digest")
    return text
