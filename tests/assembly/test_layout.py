"""Images, on disk and in a real registry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path

import pytest

from launch_agent.assembly import image, layer, layout, origin, transfer
from launch_agent.assembly.entries import Entry
from launch_agent.assembly.image import Base, Image, Settings
from launch_agent.assembly.origin import Layout
from launch_agent.assembly.wheels import Target
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.model import Platform
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import ImageError

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")
# Writes a layout whose base never comes to its end.
STALLS = """
import sys, time
from pathlib import Path
from launch_agent.assembly import layout
from tests.assembly.test_layout import as_base, make
folder = Path(sys.argv[1])
above = make(folder, base=as_base(make(folder)), text=b"2")
def stall(blob):
    yield b"x"
    print("here", flush=True)
    time.sleep(600)
layout.write([above], folder / "out", read_base=stall)
"""


def make(folder: Path, *, base: Base | None = None, platform: Platform = AMD64, text: bytes = b"1") -> Image:
    made = layer.write([Entry(path="a", content=text)], folder / uuid.uuid4().hex, title="a")
    return image.assemble(base or Base(name="", platform=platform), [made], Settings(env={"A": "1"}))


def as_base(below: Image) -> Base:
    return Base.of("below", below.manifest, json.loads(below.config))


def test_settings_of_the_base_stay_where_nothing_else_is_said(tmp_path: Path) -> None:
    below = as_base(make(tmp_path))
    made = image.assemble(below, [], Settings(env={"B": "2"}, entry_point=["x"], labels={"l": "m"}))
    config = json.loads(made.config)
    assert config["config"] == {"Env": ["A=1", "B=2"], "Entrypoint": ["x"], "Labels": {"l": "m"}}
    assert config["rootfs"]["diff_ids"] == below.config["rootfs"]["diff_ids"]


def test_a_layout_is_read_as_it_was_written(tmp_path: Path) -> None:
    images = [make(tmp_path), make(tmp_path, platform=ARM64, text=b"2")]
    out = tmp_path / "out"
    layout.write(images, out, read_base=lambda _: (), index=image.index(images))
    assert origin.base(Layout(out), ARM64).digest == images[1].digest
    layout.write(images[:1], out, read_base=lambda _: ())
    assert origin.image(Layout(out), AMD64).digest == images[0].digest


def test_an_index_holds_each_platform_once(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="one image for each platform"):
        image.index([make(tmp_path), make(tmp_path)])


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(ImageError, match="not empty"):
        layout.write([make(tmp_path)], out, read_base=lambda _: ())
    assert (out / "thesis.txt").read_text() == "mine"


def test_a_layout_that_was_cut_off_is_none_and_a_second_run_completes(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STALLS, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)
    with pytest.raises(ImageError, match="no image on disk"):
        Layout(tmp_path / "out")
    layout.write([make(tmp_path)], tmp_path / "out", read_base=lambda _: ())
    assert origin.image(Layout(tmp_path / "out"), AMD64)


def test_an_archive_for_docker_lists_its_layers(tmp_path: Path) -> None:
    made = make(tmp_path)
    layout.write_archive(made, tmp_path / "a.tar", read_base=lambda _: (), reference="x/y:z")
    with tarfile.open(tmp_path / "a.tar") as archive:
        told = archive.extractfile("manifest.json")
        assert told is not None
        (listed,) = json.load(told)
        assert listed["RepoTags"] == ["x/y:z"]
        assert {listed["Config"], *listed["Layers"]} <= set(archive.getnames())


def test_a_base_in_the_same_registry_is_linked_and_not_sent(docker_registry: str, tmp_path: Path) -> None:
    client = RegistryClient(docker_registry)
    name = f"assembly-{uuid.uuid4().hex[:8]}"
    origin, target = Repository(client, f"{name}/base"), Repository(client, f"{name}/jobs")
    below = make(tmp_path)
    transfer.push(below, origin, base_from=None, tag="v1")
    above = make(tmp_path, base=as_base(below), text=b"2")
    sent: list[str] = []
    transfer.push(
        above, target, base_from=origin, tag="v1", progress=lambda blob, _: sent.append(blob.digest)
    )
    assert below.layers[0].descriptor.digest not in sent
    assert target.has_blob(below.layers[0].descriptor.digest)
    assert target.image("v1", AMD64).digest == above.digest
    client.close()


def test_nothing_is_pushed_of_a_base_that_is_nowhere(docker_registry: str, tmp_path: Path) -> None:
    client = RegistryClient(docker_registry)
    target = Repository(client, f"assembly-{uuid.uuid4().hex[:8]}")
    above = make(tmp_path, base=as_base(make(tmp_path)))
    with pytest.raises(ImageError, match="are needed"):
        transfer.push(above, target, base_from=None, tag="v1")
    assert target.head("v1") is None
    client.close()


def test_a_platform_without_known_wheels_is_refused() -> None:
    with pytest.raises(ImageError, match="not known"):
        Target(python="3.12", platform=Platform(os="windows", architecture="amd64"))
