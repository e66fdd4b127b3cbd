"""What is said of an image beside it: a bill of materials, as a manifest that names the image its subject.

The form is the image specification's ("Guidelines for Artifact Usage"): an empty configuration, one layer
with the document, `artifactType` saying what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from launch_agent.clients.oci.model import OCI_EMPTY, OCI_MANIFEST, Descriptor, Manifest

_EMPTY = b"{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A manifest with a subject, and its blobs by their digests."""

    manifest: Manifest
    blobs: Mapping[str, bytes] = field(repr=False)

    @property
    def listed(self) -> Descriptor:
        """As an index lists it."""
        told = self.manifest.descriptor
        return Descriptor(
            media_type=told.media_type,
            digest=told.digest,
            size=told.size,
            artifact_type=str(self.manifest.value["artifactType"]),
        )


def attach(
    subject: Descriptor, content: bytes, media_type: str, *, annotations: Mapping[str, str] | None = None
) -> Attachment:
    """A document about the manifest that `subject` describes."""
    config, document = Descriptor.of(_EMPTY, OCI_EMPTY), Descriptor.of(content, media_type)
    plain = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
    manifest = Manifest.make(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": media_type,
            "config": config.to_json(),
            "layers": [document.to_json()],
            "subject": plain.to_json(),
            **({"annotations": dict(annotations)} if annotations else {}),
        }
    )
    return Attachment(manifest=manifest, blobs={config.digest: _EMPTY, document.digest: content})
