"""What refers to an image (a bill of materials, a signature), where the registry keeps track and where not.

The distribution specification 1.1 has an API for it; registries without it are given a list that the client
keeps under a tag made of the subject's digest ("Unavailable Referrers API"). The list is read, changed and
written, so two clients that attach at the same moment may lose one entry: that is the scheme's own weakness.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from launch_agent.clients.oci.listing import pages
from launch_agent.clients.oci.model import OCI_INDEX, Descriptor, Manifest
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import RegistryNotFound

# How registries say that they do not know the API.
_UNKNOWN = frozenset({400, 404, 405, 406, 501})


def referrers(repository: Repository, digest: str, artifact_type: str = "") -> Sequence[Descriptor]:
    """What refers to a manifest; only of one type where it is given. Empty for an absent manifest too."""
    found = _of_api(repository, digest, artifact_type)
    if found is None:
        found = _of_tag(repository, digest)
    return tuple(each for each in found if artifact_type in ("", each.artifact_type))


def attach(repository: Repository, manifest: Manifest) -> Descriptor:
    """Push a manifest that names a `subject`, and see to it that it is found from there."""
    subject = manifest.subject
    if subject is None:
        raise ValueError("the manifest has no subject")
    pushed = repository.push_manifest(manifest)
    if _of_api(repository, subject.digest, "") is None:
        _note(repository, subject, manifest)
    return pushed


def _of_api(repository: Repository, digest: str, artifact_type: str) -> Sequence[Descriptor] | None:
    """None where the registry has no such API."""
    doing = f"list what refers to {repository}@{digest}"
    query = urlencode({"artifactType": artifact_type}) if artifact_type else ""
    client, url = repository.client, repository.url("referrers", digest, query)
    answer = client.request(doing, "GET", url, scopes=repository.pull, headers={"Accept": OCI_INDEX})
    kind = answer.headers.get("content-type", "")
    if answer.status in _UNKNOWN or (answer.status == 200 and not kind.startswith(OCI_INDEX)):
        return None
    client.expect(doing, answer, 200)
    found: list[Descriptor] = []
    for page in pages(client, doing, url, repository.pull, {"Accept": OCI_INDEX}):
        found += [Descriptor.from_json(each) for each in page.get("manifests") or ()]
    return found


def _of_tag(repository: Repository, digest: str) -> Sequence[Descriptor]:
    try:
        return repository.manifest(_tag(digest)).entries
    except RegistryNotFound:
        return ()


def _note(repository: Repository, subject: Descriptor, manifest: Manifest) -> None:
    """Add the manifest to the list under the subject's tag."""
    kind = str(manifest.value.get("artifactType") or manifest.config.media_type)
    annotations = manifest.value.get("annotations") or {}
    own = manifest.descriptor.to_json() | {"artifactType": kind}
    if annotations:
        own["annotations"] = annotations
    others = [
        each.to_json() for each in _of_tag(repository, subject.digest) if each.digest != manifest.digest
    ]
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*others, own]}
    repository.push_manifest(Manifest.make(value), _tag(subject.digest))


def _tag(digest: str) -> str:
    return digest.replace(":", "-", 1)[:128]
