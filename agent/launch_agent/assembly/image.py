"""Base image + layers + settings -> an image: its manifest and its configuration.

The base's own configuration is kept where nothing else is said (PATH, and what other variables its programs
want), its layers are pointed to and not read: whoever puts the image somewhere takes care of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from launch_agent.assembly.layer import EPOCH, Layer
from launch_agent.clients.oci.model import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
)
from launch_agent.errors import ImageError

# Docker's older words for layers of a base, in the newer ones: the archives are the same.
_LAYER_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What an image is built on. `manifest` and `config` are its own; an empty base has neither layers nor
    settings."""

    name: str
    platform: Platform
    layers: Sequence[Descriptor] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    @classmethod
    def of(cls, name: str, manifest: Manifest, config: Mapping[str, Any]) -> Base:
        """Raises ImageError where the configuration is no image's."""
        diff_ids = (
            config.get("rootfs", {}).get("diff_ids") if isinstance(config.get("rootfs"), Mapping) else None
        )
        if not isinstance(diff_ids, list) or len(diff_ids) != len(manifest.layers):
            raise ImageError(f"{name} is no container image: its configuration does not list its layers")
        platform = Platform(
            os=str(config.get("os", "")),
            architecture=str(config.get("architecture", "")),
            variant=str(config.get("variant", "")),
        )
        return cls(
            name=name, platform=platform, layers=manifest.layers, config=config, digest=manifest.digest
        )

    @property
    def env(self) -> Mapping[str, str]:
        """The variables that the base sets."""
        pairs = (str(each).partition("=") for each in self._settings.get("Env") or ())
        return {name: value for name, _, value in pairs}

    @property
    def _settings(self) -> Mapping[str, Any]:
        return self.config.get("config") or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an image says of how it is run. Empty leaves the base's word, but for `cmd`, which goes with the
    entry point. `healthcheck` is Docker's, which OCI's configuration takes along: its test as arguments, with
    `health_seconds` between two tests, for one, and until failures count."""

    entry_point: Sequence[str] = ()
    cmd: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    healthcheck: Sequence[str] = ()
    health_seconds: tuple[int, int, int] = (30, 5, 60)
    stop_signal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image, ready to be put somewhere. `config` is its configuration's bytes; `layers` are the ones that
    were made here, beside those of the base."""

    manifest: Manifest
    config: bytes = field(repr=False)
    base: Base = field(repr=False)
    layers: Sequence[Layer] = ()

    @property
    def platform(self) -> Platform:
        return self.base.platform

    @property
    def digest(self) -> str:
        return self.manifest.digest


def assemble(
    base: Base,
    layers: Sequence[Layer],
    settings: Settings,
    *,
    annotations: Mapping[str, str] | None = None,
    epoch: int = EPOCH,
) -> Image:
    """The image of these parts; equal parts make equal bytes. `epoch` is when it says it was made."""
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    theirs = base.config.get("rootfs", {}).get("diff_ids", [])
    history = [entry for entry in base.config.get("history") or [] if isinstance(entry, Mapping)]
    config = {
        "created": created,
        "architecture": base.platform.architecture,
        "os": base.platform.os,
        **({"variant": base.platform.variant} if base.platform.variant else {}),
        "config": _settings(base, settings),
        "rootfs": {"type": "layers", "diff_ids": [*theirs, *(layer.diff_id for layer in layers)]},
        "history": [
            *history,
            *({"created": created, "created_by": layer.title, "comment": "launch-agent"} for layer in layers),
        ],
    }
    content = json.dumps(config, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    below = [_as_oci(layer) for layer in base.layers]
    manifest = Manifest.make(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": Descriptor.of(content, OCI_CONFIG).to_json(),
            "layers": [each.to_json() for each in (*below, *(layer.descriptor for layer in layers))],
            **({"annotations": dict(annotations)} if annotations else {}),
        }
    )
    return Image(manifest=manifest, config=content, base=base, layers=tuple(layers))


def index(images: Sequence[Image], *, annotations: Mapping[str, str] | None = None) -> Manifest:
    """The index of images for several platforms. Raises ImageError where two are for the same one."""
    platforms = [str(image.platform) for image in images]
    if len(set(platforms)) < len(platforms):
        raise ImageError(
            f"an index holds one image for each platform, and these are for {', '.join(platforms)}"
        )
    return Manifest.make(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                Descriptor(
                    media_type=image.manifest.descriptor.media_type,
                    digest=image.digest,
                    size=image.manifest.descriptor.size,
                    platform=image.platform,
                ).to_json()
                for image in images
            ],
            **({"annotations": dict(annotations)} if annotations else {}),
        }
    )


def is_docker(manifest: Manifest) -> bool:
    """Whether a manifest is written in Docker's older words."""
    return manifest.descriptor.media_type == DOCKER_MANIFEST


def _settings(base: Base, settings: Settings) -> dict[str, Any]:
    ours = dict(base.config.get("config") or {})
    if settings.entry_point:
        ours["Entrypoint"] = list(settings.entry_point)
        ours.pop("Cmd", None)
    if settings.cmd:
        ours["Cmd"] = list(settings.cmd)
    if settings.env:
        ours["Env"] = [f"{name}={value}" for name, value in {**base.env, **settings.env}.items()]
    if settings.labels:
        ours["Labels"] = {**(ours.get("Labels") or {}), **settings.labels}
    if settings.healthcheck:
        names = ("Interval", "Timeout", "StartPeriod")
        times = {name: each * 10**9 for name, each in zip(names, settings.health_seconds, strict=True)}
        ours["Healthcheck"] = {"Test": ["CMD", *settings.healthcheck], **times}
    plain = {"User": settings.user, "WorkingDir": settings.working_dir, "StopSignal": settings.stop_signal}
    ours |= {key: value for key, value in plain.items() if value}
    return ours


def _as_oci(layer: Descriptor) -> Descriptor:
    return Descriptor(
        media_type=_LAYER_TYPES.get(layer.media_type, layer.media_type), digest=layer.digest, size=layer.size
    )
