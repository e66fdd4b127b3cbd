"""What builds by the real kaniko need on the real node: its executor in an image, a base image, a registry.

The published image is the executor alone on an empty file system, with the variables that are set here; the
programs that know how to log in to clouds' registries are left out.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.model import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, Manifest
from launch_agent.clients.oci.repository import Repository
from launch_agent.images.rootfs import image_from_host
from launch_agent.spec.model import Credentials
from launch_agent.spec.secret import Secret
from tests.fakes import node_images
from tests.fakes.real_node import Node
from tests.fakes.registry import PASSWORD, USER
from tools import kaniko_tools

NAME = "test.invalid/kaniko:1"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_ENV = {
    "HOME": "/root",
    "USER": "root",
    "PATH": "/usr/local/bin:/kaniko",
    "SSL_CERT_DIR": "/kaniko/ssl/certs",
    "DOCKER_CONFIG": "/kaniko/.docker/",
}


class NoKaniko(Exception):
    """Why there is no kaniko for the tests."""


def executor_image(node: Node) -> str:
    """The name of the image on the node. Raises NoKaniko where the executor is not built."""
    program = kaniko_tools.executor()
    if not program.exists():
        raise NoKaniko("kaniko's executor is not built (`make tools`)")
    if NAME in node.ctr("images", "list", "--quiet").split():
        return NAME
    with tempfile.TemporaryDirectory() as scratch:
        layer = Path(scratch, "layer.tar")
        with tarfile.open(layer, "w") as tar:
            for folder, mode in (("kaniko", 0o777), ("kaniko/.docker", 0o755), ("workspace", 0o755)):
                info = tarfile.TarInfo(folder)
                info.type, info.mode = tarfile.DIRTYPE, mode
                tar.addfile(info)
            tar.add(program, "kaniko/executor")
        whole = Path(scratch, "image.tar")
        node_images.archive(layer, NAME, whole, ["/kaniko/executor"], env=_ENV)
        node.ctr("images", "import", str(whole))
    return NAME


def push_base(registry: str, path: str, programs: Sequence[str]) -> str:
    """Put an image of this machine's programs into a registry that has the tests' lock; returns its name."""
    with tempfile.TemporaryDirectory() as scratch:
        layer = image_from_host(Path(scratch, "layer.tar"), programs).read_bytes()
    packed = gzip.compress(layer, compresslevel=1, mtime=0)
    config = json.dumps(
        {
            "os": "linux",
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "BASE=there"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    place = repository(registry, path)
    described = Descriptor.of(packed, OCI_LAYER)
    place.push_blob(described, packed)
    place.push_blob(Descriptor.of(config, OCI_CONFIG), config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor.of(config, OCI_CONFIG).to_json(),
        "layers": [described.to_json()],
    }
    place.push_manifest(Manifest.make(manifest), "1")
    return f"{registry}/{path}:1"


def repository(registry: str, path: str) -> Repository:
    """As one who may push sees it."""
    login = Credentials(host=registry, username=USER, password=Secret(PASSWORD))
    return Repository(RegistryClient(registry, credentials=lambda: login, plain=True), path)
