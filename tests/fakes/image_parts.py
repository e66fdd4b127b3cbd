"""What an image of the agent is made from, in tests: a base of this machine's Python, wheels, a plan."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch_agent.clients.oci.model import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest
from launch_agent.images.agent.plan import Package, Plan
from launch_agent.images.rootfs import image_from_host

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
OWN = f"linux/{_ARCHITECTURES.get(platform.machine(), platform.machine())}"
_PROGRAMS = ("sh", "sleep", "echo", "cat", "env", "true", "id", "ls")


def python_layout(folder: Path) -> Path:
    """An OCI layout with an image of the Python that runs these tests, of this machine's platform."""
    layer = image_from_host(folder / "layer.tar", _PROGRAMS, python=True)
    layout = write_layout(folder / "base", {OWN: [layer]}, env={"PATH": "/usr/local/bin:/usr/bin:/bin"})
    layer.unlink()
    return layout


def write_layout(
    folder: Path, layers: Mapping[str, Sequence[Path]], *, env: Mapping[str, str] | None = None
) -> Path:
    """An OCI layout with an image for each platform, of layers that are plain tar files; an index where
    there are several."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    entries = []
    for text, files in layers.items():
        system, architecture = text.split("/")
        described = []
        for file in files:
            content = file.read_bytes()
            described.append(Descriptor.of(content, "application/vnd.oci.image.layer.v1.tar"))
            (blobs / described[-1].digest[7:]).write_bytes(content)
        config = {
            "os": system,
            "architecture": architecture,
            "config": {"Env": [f"{name}={value}" for name, value in (env or {}).items()]},
            "rootfs": {"type": "layers", "diff_ids": [each.digest for each in described]},
        }
        content = json.dumps(config).encode()
        (blobs / Descriptor.of(content, OCI_CONFIG).digest[7:]).write_bytes(content)
        manifest = Manifest.make(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": Descriptor.of(content, OCI_CONFIG).to_json(),
                "layers": [each.to_json() for each in described],
            }
        )
        (blobs / manifest.digest[7:]).write_bytes(manifest.content)
        told = {"os": system, "architecture": architecture}
        entries.append({**manifest.descriptor.to_json(), "platform": told})
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def wheel(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    *,
    version: str = "1.0",
    tag: str = "py3-none-any",
    metadata: str = "",
    commands: Mapping[str, str] | None = None,
) -> Package:
    """Write a wheel, the same at each time, and say how a lock names it."""
    info = f"{name}-{version}.dist-info"
    texts = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{metadata}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    if commands:
        lines = "".join(f"{command} = {target}\n" for command, target in commands.items())
        texts[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}"
    record = ""
    for path, text in texts.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    place = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(place, "w") as archive:
        for path, text in {**texts, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    digest = hashlib.sha256(place.read_bytes()).hexdigest()
    return Package(name=name, version=version, hashes=(f"sha256:{digest}",))


def plan(base: str, packages: Sequence[Package] = (), **changes: Any) -> Plan:
    """A plan for this machine's platform and Python."""
    told: dict[str, Any] = {
        "version": "1.0",
        "extras": (),
        "system_packages": (),
        "packages": tuple(packages),
        "python": PYTHON,
        "platforms": (OWN,),
        "base": base,
        "env": {"HOME": "/home/launch_agent"},
        "labels": {"org.opencontainers.image.title": "launch-agent"},
        "entry_point": ("launch-agent", "start"),
        "healthcheck": ("launch-agent", "--version"),
    }
    return Plan(**{**told, **changes})


def own_wheel(folder: Path) -> Path:
    """The wheel of this checkout's agent."""
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=root, check=True, capture_output=True, timeout=120,
        env={**os.environ, "SOURCE_DATE_EPOCH": "315532800"},
    )  # fmt: skip
    return next(folder.glob("launch_agent-*.whl"))
