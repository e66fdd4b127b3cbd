"""An image seen from outside: its layers, what is in each, and what differs between two images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch_agent.assembly import contents, origin
from launch_agent.assembly.contents import Contents, Package
from launch_agent.assembly.origin import Origin
from launch_agent.clients.oci.model import Descriptor, Manifest, Platform

_LONGEST_TITLE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSeen:
    """A layer: `packed` bytes as it travels, `title` what its image says it was made by."""

    digest: str
    packed: int
    title: str
    contents: Contents = field(repr=False)
    packages: Sequence[Package] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An image for one platform."""

    name: str
    manifest: Manifest
    platform: Platform
    config: Mapping[str, Any] = field(repr=False)
    layers: Sequence[LayerSeen] = ()
    packages: Sequence[Package] = ()

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def settings(self) -> Mapping[str, Any]:
        """How the image is run: entry point, user, variables."""
        told = self.config.get("config")
        return told if isinstance(told, Mapping) else {}

    @property
    def packed(self) -> int:
        return sum(layer.packed for layer in self.layers)

    @property
    def size(self) -> int:
        return sum(layer.contents.size for layer in self.layers)

    @property
    def system(self) -> str:
        """The distribution in package URLs, as far as the packages tell."""
        return "alpine" if any(each.kind is contents.Kind.ALPINE for each in self.packages) else "debian"


def look(where: Origin, platform: Platform) -> Seen:
    """Read an image whole: its layers are fetched. Raises ImageError, RegistryError."""
    manifest = origin.image(where, platform)
    config = origin.config(where, manifest)
    titles = _titles(config, len(manifest.layers))
    read = [contents.read(where.read(layer), f"{layer.digest} of {where.name}") for layer in manifest.layers]
    layers = [
        LayerSeen(
            digest=layer.digest,
            packed=layer.size,
            title=title,
            contents=there,
            packages=tuple(packages),
        )
        for layer, title, there, packages in zip(
            manifest.layers, titles, read, contents.packages_of(read), strict=True
        )
    ]
    return Seen(
        name=where.name,
        manifest=manifest,
        platform=Platform(
            os=str(config.get("os", "")),
            architecture=str(config.get("architecture", "")),
            variant=str(config.get("variant", "")),
        ),
        config=config,
        layers=tuple(layers),
        packages=tuple(contents.whole(read)),
    )


def _titles(config: Mapping[str, Any], count: int) -> list[str]:
    """What made each layer. A history may be shorter than the layers: it is told from its end."""
    history = config.get("history")
    steps = [each for each in history if isinstance(each, Mapping)] if isinstance(history, list) else []
    told = [str(each.get("created_by", "")) for each in steps if not each.get("empty_layer")]
    short = [" ".join(text.split())[:_LONGEST_TITLE] for text in told[-count:]]
    return [""] * (count - len(short)) + short


def platforms(where: Origin) -> list[str]:
    """The platforms of an index; empty for a single image."""
    top = where.top()
    if not top.is_index:
        return []
    return [str(each.platform) for each in top.entries if _is_image(each)]


def _is_image(entry: Descriptor) -> bool:
    return entry.platform is not None and entry.platform.os != "unknown" and not entry.artifact_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the second image has more (`added`), less (`removed`) and in another version (`changed`) than the
    first; `size` and `packed` are bytes more; `settings` are the keys of the configuration that differ, with
    both values."""

    added: Sequence[Package]
    removed: Sequence[Package]
    changed: Sequence[tuple[Package, Package]]
    same_layers: int
    new_layers: Sequence[LayerSeen]
    size: int
    packed: int
    settings: Mapping[str, tuple[Any, Any]]


def difference(one: Seen, two: Seen) -> Difference:
    before = {each.key: each for each in one.packages}
    after = {each.key: each for each in two.packages}
    known = {layer.digest for layer in one.layers}
    new = [layer for layer in two.layers if layer.digest not in known]
    keys = sorted({*one.settings, *two.settings})
    return Difference(
        added=[after[key] for key in sorted(after.keys() - before.keys())],
        removed=[before[key] for key in sorted(before.keys() - after.keys())],
        changed=[
            (before[key], after[key])
            for key in sorted(before.keys() & after.keys())
            if before[key].version != after[key].version
        ],
        same_layers=len(two.layers) - len(new),
        new_layers=new,
        size=two.size - one.size,
        packed=two.packed - one.packed,
        settings={
            key: (one.settings.get(key), two.settings.get(key))
            for key in keys
            if one.settings.get(key) != two.settings.get(key)
        },
    )
