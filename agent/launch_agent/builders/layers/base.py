"""The image that a build begins with, and the Python in it.

The official images say their version in PYTHON_VERSION; of others the layers' lists of files are read, once
for each digest.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator

from launch_agent.assembly.image import Base
from launch_agent.clients.oci.model import Descriptor, Platform
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import BuildError
from launch_agent.spec.image import ImageRef

_PROGRAM = re.compile(r"(?:\./)?(?P<path>usr/(?:local/)?bin/python(?P<version>3\.\d{1,2}))")


def read(place: Repository, ref: ImageRef, platform: Platform) -> Base:
    """Raises RegistryError where it cannot be had, ImageError where it is none."""
    manifest = place.image(ref.digest or ref.tag or "latest", platform)
    base = Base.of(str(ref), manifest, place.config(manifest))
    if not platform.runs(base.platform):
        raise BuildError(
            f"the base image {ref} is for {base.platform}, and the job's is to be for {platform}",
            hint="name a base image that is made for it, or another builder.platform",
        )
    return base


def python(base: Base, place: Repository, wanted: str) -> str:
    """The path of the base's Python. Raises BuildError where it has none of the wanted version (`3.12`)."""
    said = base.env.get("PYTHON_VERSION", "")
    found = {}
    if said:
        version = ".".join(said.split(".")[:2])
        found[version] = f"/usr/local/bin/python{version}"
    else:
        for layer in base.layers:
            found |= _programs(place, layer)
    if wanted in found:
        return found[wanted]
    has = f"has Python {', '.join(sorted(found))}" if found else "has no Python"
    raise BuildError(
        f"the base image {base.name} {has}, and the job wants Python {wanted}",
        hint="name a base image with that version, or set the job's runtime to the one it has",
    )


def _programs(place: Repository, layer: Descriptor) -> dict[str, str]:
    found = {}
    reader = io.BufferedReader(_Chunks(place.read_blob(layer)))
    try:
        with tarfile.open(fileobj=reader, mode="r|*") as archive:
            for member in archive:
                if match := _PROGRAM.fullmatch(member.name):
                    found[match["version"]] = f"/{match['path']}"
    except tarfile.TarError as error:
        raise BuildError(f"a layer of the base image in {place} cannot be read: {error}") from error
    return found


class _Chunks(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override] # the base takes any buffer
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        size = min(len(into), len(self._left))
        into[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
