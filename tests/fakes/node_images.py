"""Images for the real node, made of this machine's programs, since there is no registry to pull from.

A layer becomes an image archive of Docker's format, which `ctr images import` takes.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}


def archive(
    layer: Path, name: str, into: Path, entrypoint: Sequence[str] = (), *, env: Mapping[str, str] = _ENV
) -> Path:
    """Write the archive of an image with one layer (a tar file), under a name with a tag."""
    data = layer.read_bytes()
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "Entrypoint": list(entrypoint),
            "Env": [f"{name}={value}" for name, value in env.items()],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(into, "w") as tar:
        _add(tar, "config.json", _json(config))
        _add(tar, "layer.tar", data)
        _add(tar, "manifest.json", _json(manifest))
    return into


def _json(value: Mapping[str, Any] | list[Any]) -> bytes:
    return json.dumps(value).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
