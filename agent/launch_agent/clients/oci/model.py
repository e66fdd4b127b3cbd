"""The nouns of container registries: descriptors, manifests, indexes, platforms.

Media types are those of the OCI image specification 1.1 and the Docker ones that came before it; the two say
the same in other words, and registries hold both for ever. A digest is `sha256:<64 hex digits>`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch_agent.errors import RegistryError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# The two bytes `{}`, as config of what is no image.
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)
# Manifests are a few kilobytes; the specification has registries refuse more than 4 MiB.
LARGEST_MANIFEST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What an image runs on, in Go's words: `linux`, `amd64`, and for ARM a variant such as `v7`."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """`linux/arm/v7`. Raises ValueError."""
        parts = text.split("/")
        if not 2 <= len(parts) <= 3 or not all(parts):
            raise ValueError(f"{text!r} is not a platform such as linux/amd64")
        return cls(os=parts[0], architecture=parts[1], variant="/".join(parts[2:]))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def runs(self, other: Platform) -> bool:
        """Whether an image for `other` is one for this. 64-bit ARM is v8, said or not."""
        mine, theirs = (
            ("" if each.architecture == "arm64" and each.variant == "v8" else each.variant)
            for each in (self, other)
        )
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and (not mine or mine == theirs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What points to content: its type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Descriptor:
        return cls(media_type=media_type, digest=digest_of(content), size=len(content))

    @classmethod
    def from_json(cls, value: Any) -> Descriptor:
        """Raises RegistryError where it is no descriptor: registries pass on what others have pushed."""
        value = value if isinstance(value, Mapping) else {}
        digest, size = value.get("digest"), value.get("size")
        if not isinstance(digest, str) or ":" not in digest or not isinstance(size, int) or size < 0:
            raise RegistryError("a manifest holds an entry without a digest or a size")
        platform = value.get("platform")
        annotations = value.get("annotations")
        return cls(
            media_type=str(value.get("mediaType", "")),
            digest=digest,
            size=size,
            platform=_platform(platform) if isinstance(platform, Mapping) else None,
            artifact_type=str(value.get("artifactType", "")),
            annotations=dict(annotations) if isinstance(annotations, Mapping) else {},
        )

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform is not None:
            parts = ("os", "architecture", "variant")
            value["platform"] = {part: text for part in parts if (text := getattr(self.platform, part))}
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest or an index as its registry holds it, byte for byte; `value` is the same, parsed."""

    descriptor: Descriptor
    content: bytes = field(repr=False)
    value: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, content: bytes, media_type: str) -> Manifest:
        """Raises ValueError where it is no JSON object or not what it says it is."""
        value = json.loads(content)
        if not isinstance(value, dict):
            raise ValueError("it is not an object")  # noqa: TRY004 - like JSON that cannot be parsed
        # Some registries answer with a general type; what the document says of itself is what counts.
        own = str(value.get("mediaType") or media_type.partition(";")[0].strip())
        if "manifests" in value and own not in INDEXES:
            own = OCI_INDEX
        elif own not in (*MANIFESTS, *INDEXES) and "layers" in value and "config" in value:
            own = OCI_MANIFEST
        return cls(descriptor=Descriptor.of(content, own), content=content, value=value)

    @classmethod
    def make(cls, value: Mapping[str, Any]) -> Manifest:
        """The manifest with this content, written in one way only: equal content, equal digest. `value`
        names its `mediaType`."""
        content = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        descriptor = Descriptor.of(content, str(value["mediaType"]))
        return cls(descriptor=descriptor, content=content, value=value)

    @property
    def digest(self) -> str:
        return self.descriptor.digest

    @property
    def is_index(self) -> bool:
        return self.descriptor.media_type in INDEXES

    @property
    def config(self) -> Descriptor:
        """Raises RegistryError where it has none (an index, a manifest of Docker's first kind)."""
        return Descriptor.from_json(self.value.get("config"))

    @property
    def layers(self) -> Sequence[Descriptor]:
        return tuple(Descriptor.from_json(each) for each in _list(self.value.get("layers")))

    @property
    def entries(self) -> Sequence[Descriptor]:
        """What an index lists."""
        return tuple(Descriptor.from_json(each) for each in _list(self.value.get("manifests")))

    @property
    def subject(self) -> Descriptor | None:
        subject = self.value.get("subject")
        return Descriptor.from_json(subject) if subject is not None else None

    def pick(self, platform: Platform) -> Descriptor:
        """The image for a platform in an index; an exact variant before a general one. Raises RegistryError
        naming what there is."""
        images = [each for each in self.entries if each.platform and each.platform.os != "unknown"]
        exact = [each for each in images if each.platform == platform]
        if found := exact or [each for each in images if each.platform and platform.runs(each.platform)]:
            return found[0]
        there = ", ".join(sorted({str(each.platform) for each in images})) or "none that names one"
        raise RegistryError(
            f"the image index {self.digest} has no image for {platform}; there is: {there}",
            hint="build the image for that platform too, or ask for one that is there",
        )


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _platform(value: Mapping[str, Any]) -> Platform:
    return Platform(
        os=str(value.get("os", "")),
        architecture=str(value.get("architecture", "")),
        variant=str(value.get("variant", "")),
    )
