"""Small images to push: valid manifests whose layers are whatever bytes a test wants."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from launch_agent.clients.oci.model import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from launch_agent.clients.oci.repository import Repository


def push_image(
    repository: Repository, tag: str, *, layers: Sequence[bytes] = (), architecture: str = "amd64"
) -> Manifest:
    """An image with these layers, or one of its own, under a tag (none: by its digest alone)."""
    layers = layers or (os.urandom(64),)
    config = json.dumps({"architecture": architecture, "os": "linux", "config": {"User": "1000"}}).encode()
    described = [Descriptor.of(layer, OCI_LAYER) for layer in layers]
    for descriptor, layer in zip(described, layers, strict=True):
        repository.push_blob(descriptor, layer)
    repository.push_blob(Descriptor.of(config, OCI_CONFIG), config)
    manifest = Manifest.make(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": Descriptor.of(config, OCI_CONFIG).to_json(),
            "layers": [each.to_json() for each in described],
        }
    )
    repository.push_manifest(manifest, tag)
    return manifest


def push_index(repository: Repository, tag: str, architectures: Sequence[str]) -> Manifest:
    """An index with an image for each architecture."""
    entries = []
    for architecture in architectures:
        image = push_image(repository, "", architecture=architecture)
        platform = {"os": "linux", "architecture": architecture}
        entries.append(image.descriptor.to_json() | {"platform": platform})
    index = Manifest.make({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    repository.push_manifest(index, tag)
    return index
