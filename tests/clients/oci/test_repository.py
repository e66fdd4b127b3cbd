"""Reading and pushing, against Debian's registry."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.model import OCI_LAYER, OCI_MANIFEST, Descriptor, Manifest, Platform
from launch_agent.clients.oci.referrers import attach, referrers
from launch_agent.clients.oci.repository import Repository
from launch_agent.clients.oci.upload import CHUNK
from launch_agent.errors import RegistryError, RegistryNotFound, RegistryUnavailable
from tests.fakes.images import push_image, push_index

AMD64 = Platform.parse("linux/amd64")


def test_an_absent_repository_has_no_image(repository: Repository) -> None:
    assert repository.head("v1") is None
    assert list_or_none(repository) is None


def list_or_none(repository: Repository) -> list[str] | None:
    try:
        return list(repository.tags())
    except RegistryNotFound:
        return None


def test_what_was_pushed_is_found_by_tag_and_digest(repository: Repository) -> None:
    pushed = push_image(repository, "v1", layers=[b"one", b"two"])
    for reference in ("v1", pushed.digest):
        found = repository.head(reference)
        assert found is not None
        assert (found.digest, found.size) == (pushed.digest, len(pushed.content))
        assert found.media_type == OCI_MANIFEST
        assert repository.manifest(reference).content == pushed.content
    assert repository.head("v2") is None
    assert repository.config(pushed)["config"] == {"User": "1000"}
    assert [b"".join(repository.read_blob(layer)) for layer in pushed.layers] == [b"one", b"two"]


def test_an_index_is_resolved_by_platform(repository: Repository) -> None:
    index = push_index(repository, "both", ["amd64", "arm64"])
    found = repository.head("both")
    assert found is not None
    assert found.digest == index.digest
    image = repository.image("both", Platform.parse("linux/arm64/v8"))
    assert repository.config(image)["architecture"] == "arm64"
    with pytest.raises(RegistryError, match=r"no image for linux/s390x; there is: linux/amd64, linux/arm64"):
        repository.image("both", Platform.parse("linux/s390x"))
    # A tag that is an image by itself is that image, whatever was asked for.
    single = push_image(repository, "one")
    assert repository.image("one", AMD64).digest == single.digest


def test_a_large_layer_streams_from_and_to_files(repository: Repository, tmp_path: Path) -> None:
    content = os.urandom(1024 * 1024) * 20
    file = tmp_path / "layer"
    file.write_bytes(content)
    descriptor = Descriptor.of(content, OCI_LAYER)
    seen: list[int] = []
    assert repository.push_blob(descriptor, file, progress=seen.append)
    assert seen[-1] == len(content)
    assert seen == sorted(seen)
    assert not repository.push_blob(descriptor, file), "it is there"
    repository.fetch_blob(descriptor, tmp_path / "back")
    assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == descriptor.digest[7:]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["back", "layer"]


def test_a_layer_goes_in_chunks(client: RegistryClient, repository: Repository) -> None:
    small = Repository(client, repository.path, chunk=1000)
    content = os.urandom(3500)
    descriptor = Descriptor.of(content, OCI_LAYER)
    assert small.push_blob(descriptor, content)
    assert b"".join(small.read_blob(descriptor)) == content


def test_bytes_that_come_once_are_pushed_and_named(repository: Repository) -> None:
    pieces = [os.urandom(300_000) for _ in range(40)]  # more than one chunk
    assert sum(map(len, pieces)) > CHUNK
    descriptor = repository.push_stream(iter(pieces), OCI_LAYER)
    assert descriptor == Descriptor.of(b"".join(pieces), OCI_LAYER)
    assert repository.has_blob(descriptor.digest)
    empty = repository.push_stream(iter([]), OCI_LAYER)
    assert empty.size == 0
    assert repository.has_blob(empty.digest)


def test_a_layer_is_linked_from_another_repository(client: RegistryClient, repository: Repository) -> None:
    content = os.urandom(100)
    descriptor = Descriptor.of(content, OCI_LAYER)
    other = Repository(client, f"{repository.path}/other")
    assert not other.mount(descriptor, repository), "nobody has it"
    repository.push_blob(descriptor, content)
    assert not other.has_blob(descriptor.digest)
    assert not other.push_blob(descriptor, b"never sent", mount_from=[repository])
    assert other.has_blob(descriptor.digest)


def test_a_mount_that_finds_nothing_becomes_an_upload(client: RegistryClient, repository: Repository) -> None:
    content = os.urandom(100)
    descriptor = Descriptor.of(content, OCI_LAYER)
    other = Repository(client, f"{repository.path}/empty")
    assert repository.push_blob(descriptor, content, mount_from=[other])
    assert repository.has_blob(descriptor.digest)


def test_a_manifest_without_its_layers_is_refused(repository: Repository) -> None:
    pushed = push_image(repository, "v1")
    absent = Descriptor.of(b"never pushed", OCI_LAYER)
    broken = Manifest.make(dict(pushed.value) | {"layers": [absent.to_json()]})
    with pytest.raises(RegistryError, match=f"cannot push {repository}:v2: .*unknown"):
        repository.push_manifest(broken, "v2")
    assert repository.head("v2") is None


def test_content_that_is_not_its_digest_is_refused_by_the_registry(repository: Repository) -> None:
    descriptor = Descriptor.of(b"what was meant", OCI_LAYER)
    with pytest.raises(RegistryError, match="digest"):
        repository.push_blob(descriptor, b"something else")
    assert not repository.has_blob(descriptor.digest)


def test_a_file_that_is_gone_is_named(repository: Repository, tmp_path: Path) -> None:
    descriptor = Descriptor.of(b"x", OCI_LAYER)
    with pytest.raises((RegistryError, FileNotFoundError), match="missing"):
        repository.push_blob(descriptor, tmp_path / "missing")


def test_all_tags_are_listed_over_pages(repository: Repository) -> None:
    image = push_image(repository, "v0")
    for number in range(1, 5):
        repository.push_manifest(image, f"v{number}")
    assert sorted(repository.tags()) == [f"v{number}" for number in range(5)]


def test_an_image_is_deleted_with_its_tags(repository: Repository) -> None:
    image = push_image(repository, "v1")
    repository.push_manifest(image, "v2")
    assert repository.delete("v1")
    assert repository.head("v2") is None
    assert not repository.delete("v1")
    assert not repository.delete(image.digest)


def test_what_refers_to_an_image_is_found_without_the_api(repository: Repository) -> None:
    """Debian's registry is older than the referrers API: the list under a tag is used."""
    image = push_image(repository, "v1")
    assert referrers(repository, image.digest) == ()
    empty = Descriptor.of(b"{}", "application/vnd.oci.empty.v1+json")
    repository.push_blob(empty, b"{}")
    for kind in ("application/vnd.cyclonedx+json", "application/vnd.example+json"):
        bill = Manifest.make(
            {
                "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind,
                "config": empty.to_json(), "layers": [empty.to_json()],
                "subject": image.descriptor.to_json(), "annotations": {"made": "by tests"},
            }
        )  # fmt: skip
        attach(repository, bill)
        attach(repository, bill)  # twice is once
    found = referrers(repository, image.digest)
    assert [each.artifact_type for each in found] == [
        "application/vnd.cyclonedx+json", "application/vnd.example+json",
    ]  # fmt: skip
    one = referrers(repository, image.digest, "application/vnd.cyclonedx+json")
    assert [each.annotations for each in one] == [{"made": "by tests"}]
    assert repository.manifest(one[0].digest).subject == image.descriptor


def test_nobody_at_the_address(unused_port: int) -> None:
    client = RegistryClient(f"127.0.0.1:{unused_port}")
    with pytest.raises(RegistryUnavailable, match=r"cannot reach the registry .*refused") as caught:
        Repository(client, "a/b").head("v1")
    assert caught.value.retryable
    client.close()


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
