"""What registries say, taken apart: challenges, manifests, platforms."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.clients.oci.client import is_loopback
from launch_agent.clients.oci.model import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
)
from launch_agent.clients.oci.tokens import Challenge
from launch_agent.errors import RegistryError


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', Challenge()),
        ("basic", Challenge()),
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
            'scope="repository:a/b:pull,push"',
            Challenge(
                realm="https://auth.docker.io/token",
                service="registry.docker.io",
                scope="repository:a/b:pull,push",
            ),
        ),
        ("bearer realm=https://a/token, service=b", Challenge(realm="https://a/token", service="b")),
        ('Basic realm="a", Bearer realm="https://b/t"', Challenge(realm="https://b/t")),
        ('Bearer realm="https://b/t", Basic realm="a"', Challenge(realm="https://b/t")),
        ("Bearer", None),
        ("Negotiate", None),
        ("", None),
    ],
)
def test_a_challenge(header: str, expected: Challenge | None) -> None:
    assert Challenge.parse(header) == expected


@given(st.text())
def test_any_header_is_survived(header: str) -> None:
    Challenge.parse(header)


@pytest.mark.parametrize("general", ["application/json", "", "application/octet-stream; charset=utf-8"])
def test_a_manifest_says_itself_what_it_is(general: str) -> None:
    descriptor = {"digest": "sha256:" + "0" * 64, "size": 2}
    image = json.dumps({"config": descriptor, "layers": []}).encode()
    assert Manifest.parse(image, general).descriptor.media_type == OCI_MANIFEST
    older = json.dumps({"mediaType": DOCKER_MANIFEST, "config": descriptor, "layers": []}).encode()
    assert Manifest.parse(older, general).descriptor.media_type == DOCKER_MANIFEST
    index = Manifest.parse(b'{"manifests": []}', general)
    assert index.descriptor.media_type == OCI_INDEX
    assert index.is_index


@pytest.mark.parametrize("entry", [None, 3, {}, {"digest": "x"}, {"digest": "a:b", "size": -1}])
def test_entries_that_are_none_are_refused(entry: object) -> None:
    manifest = Manifest.parse(json.dumps({"manifests": [entry], "layers": [entry]}).encode(), OCI_INDEX)
    for look in ("entries", "layers", "config"):
        with pytest.raises(RegistryError, match="without a digest"):
            getattr(manifest, look)


@pytest.mark.parametrize(
    ("wanted", "there", "runs"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/amd64", "windows/amd64", False),
    ],
)
def test_platforms(wanted: str, there: str, runs: bool) -> None:
    assert Platform.parse(wanted).runs(Platform.parse(there)) is runs


@pytest.mark.parametrize("text", ["linux", "", "linux/", "a/b/c/d"])
def test_no_platform(text: str) -> None:
    with pytest.raises(ValueError, match="not a platform"):
        Platform.parse(text)


def test_attestations_are_no_images() -> None:
    """BuildKit lists its attestations in the index, for the platform unknown/unknown."""
    digest = "sha256:" + "0" * 64
    entries = [
        {"digest": digest, "size": 1, "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": digest, "size": 2, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
        {"digest": digest, "size": 3, "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}},
    ]
    index = Manifest.parse(json.dumps({"manifests": entries}).encode(), OCI_INDEX)
    assert index.pick(Platform.parse("linux/arm/v6")).size == 3
    with pytest.raises(RegistryError, match=r"there is: linux/arm/v6, linux/arm/v7\n"):
        index.pick(Platform.parse("linux/amd64"))


def test_a_descriptor_reads_back() -> None:
    descriptor = Descriptor(
        media_type="a/b", digest="sha256:" + "f" * 64, size=3, platform=Platform.parse("linux/arm/v7"),
        artifact_type="x/y", annotations={"k": "v"},
    )  # fmt: skip
    assert Descriptor.from_json(json.loads(json.dumps(descriptor.to_json()))) == descriptor


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True), ("localhost:5000", True), ("127.0.0.1:5000", True), ("127.8.8.8", True),
        ("[::1]:5000", True), ("a.localhost", True), ("registry.example.com", False),
        ("10.0.0.1:5000", False), ("localhost.example.com", False), ("", False),
    ],
)  # fmt: skip
def test_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
