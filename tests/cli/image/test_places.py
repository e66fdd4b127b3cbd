"""Images built without a daemon go to registries, folders and archives, and are looked into there."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from launch_agent.assembly import origin
from launch_agent.assembly.origin import Layout
from launch_agent.cli.image import inspect, push
from launch_agent.cli.image.daemonless import Wish, build
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.model import Platform
from launch_agent.clients.oci.referrers import referrers
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import ConfigError, ImageError, LaunchError, RegistryDenied, RegistryError
from launch_agent.images.agent import bom
from launch_agent.images.agent.plan import Plan
from launch_agent.spec.image import ImageRef
from tests.fakes import certificates, image_parts
from tests.fakes.image_desk import BOTH, Desk
from tests.fakes.registry import PASSWORD, USER, NoRegistry, registry

OWN = Platform.parse(image_parts.OWN)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("shared") / "desk")


@pytest.fixture
def desk(shared: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shared.folder / "index"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared.folder / "home"))
    return shared


def wheel(desk: Desk) -> Path:
    return next((desk.folder / "own").glob("*.whl"))


def made(desk: Desk, plan: Plan | None = None, **wish: Any) -> str:
    return build(plan or desk.plan(), wheel(desk), Wish(quiet=True, **wish))


def run(command: Any, *arguments: str) -> str:
    """What a command prints. Raises what it raises."""
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def place(name: str) -> tuple[RegistryClient, Repository, ImageRef]:
    ref = ImageRef.parse(name)
    client = RegistryClient(ref.host)
    return client, Repository(client, ref.path), ref


def test_a_registry_gets_an_index_with_its_bills(desk: Desk, docker_registry: str) -> None:
    name = f"{docker_registry}/agent-{uuid.uuid4().hex[:8]}"
    found = made(desk, desk.plan(platforms=BOTH), reference=f"{name}:1")
    client, there, ref = place(found)
    top = there.manifest("1")
    assert top.digest == ref.digest
    assert [str(each.platform) for each in top.entries] == list(BOTH)
    for entry in top.entries:
        (bill,) = referrers(there, entry.digest, bom.MEDIA_TYPE)
        manifest = there.manifest(bill.digest)
        told = json.loads(b"".join(there.read_blob(manifest.layers[0])))
        assert told["metadata"]["component"]["version"] == entry.digest
    client.close()
    again = made(desk, desk.plan(platforms=BOTH), reference=f"{name}:2")
    assert again == found, "a second build is the same image"


def test_all_places_get_the_same_image(desk: Desk, docker_registry: str, tmp_path: Path) -> None:
    name = f"{docker_registry}/agent-{uuid.uuid4().hex[:8]}:1"
    ways = {"registry", f"oci-layout:{tmp_path}/layout", f"docker-archive:{tmp_path}/agent.tar"}
    digests = {made(desk, reference=name, to=to).rpartition("@")[2] for to in ways}
    assert len(digests) == 1
    with tarfile.open(tmp_path / "agent.tar") as archive:
        told = archive.extractfile("manifest.json")
        assert told is not None
        assert json.load(told)[0]["RepoTags"] == [name]


def test_a_base_in_a_registry_is_linked_where_the_image_goes(
    desk: Desk, docker_registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{docker_registry}/agent-{uuid.uuid4().hex[:8]}"
    based = run(push.command, str(desk.base), f"{name}/base:1").strip()
    build(desk.plan(base=f"{name}/base:1"), wheel(desk), Wish(reference=f"{name}/agent:1"))
    assert f"--base {name}/base:1@{based.rpartition('@')[2]}" in capsys.readouterr().err
    found = made(desk, desk.plan(base=based), reference=f"{name}/agent:1")
    client, there, ref = place(found)
    manifest = there.manifest(ref.digest)
    told = manifest.value["annotations"]
    assert told["org.opencontainers.image.base.name"] == based
    assert there.has_blob(manifest.layers[0].digest)
    client.close()
    with pytest.raises(RegistryError, match="no image for linux/riscv64"):
        made(desk, replace(desk.plan(base=based), platforms=("linux/riscv64",)), reference=f"{name}/agent:1")


@pytest.fixture(scope="module")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A registry with TLS and a password, and a folder with what opens it."""
    folder = tmp_path_factory.mktemp("locked")
    certificate = certificates.make(folder / "tls")
    try:
        with registry(folder / "registry", private=True, tls=certificate) as address:
            keys = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            (folder / "config.json").write_text(json.dumps({"auths": {address: {"auth": keys}}}))
            (folder / "authority.pem").write_bytes(certificate.authority.read_bytes())
            yield address, folder
    except NoRegistry as reason:
        pytest.skip(str(reason))


def test_a_registry_with_tls_and_a_password(
    desk: Desk, locked_registry: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address, folder = locked_registry
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(RegistryDenied) as told:
        made(desk, reference=f"{address}/agent:1")
    assert f"docker login {address}" in told.value.hint
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    made(desk, reference=f"{address}/agent:1")
    assert "speech" in run(inspect.command, f"{address}/agent:1")
    made(desk, to=f"oci-layout:{tmp_path}/layout")
    run(push.command, f"{tmp_path}/layout", f"{address}/agent:2")
    for path in (desk.folder / "home").rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()


def test_a_layout_is_pushed_whole(desk: Desk, docker_registry: str, tmp_path: Path) -> None:
    name = f"{docker_registry}/agent-{uuid.uuid4().hex[:8]}:1"
    written = made(desk, desk.plan(platforms=BOTH), to=f"oci-layout:{tmp_path}/layout")
    found = run(push.command, f"{tmp_path}/layout", name).strip()
    assert found.rpartition("@")[2] == written.rpartition("@")[2]
    client, there, _ = place(found)
    for entry in there.manifest("1").entries:
        assert len(referrers(there, entry.digest, bom.MEDIA_TYPE)) == 1
    client.close()


PUSHES = """
import sys
from launch_agent.assembly import transfer
from launch_agent.assembly.origin import Layout
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.repository import Repository
import time
def told(blob, sent):
    print("sent", blob.digest, flush=True)
    time.sleep(600)
transfer._AT_ONCE = 1
target = Repository(RegistryClient(sys.argv[2]), sys.argv[3])
transfer.push_layout(Layout(__import__("pathlib").Path(sys.argv[1])), target, tag="1", progress=told)
"""


def test_a_push_that_was_killed_has_pushed_nothing_and_a_second_one_ends(
    desk: Desk, docker_registry: str, tmp_path: Path
) -> None:
    name = f"agent-{uuid.uuid4().hex[:8]}"
    made(desk, to=f"oci-layout:{tmp_path}/layout")
    command = [sys.executable, "-c", PUSHES, f"{tmp_path}/layout", docker_registry, name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"sent")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)
    client, there, _ = place(f"{docker_registry}/{name}:1")
    assert there.head("1") is None
    run(push.command, f"{tmp_path}/layout", f"{docker_registry}/{name}:1")
    assert there.head("1") is not None
    client.close()


def test_what_a_push_before_has_brought_is_not_sent_again(
    desk: Desk, docker_registry: str, tmp_path: Path
) -> None:
    from launch_agent.assembly import transfer

    made(desk, to=f"oci-layout:{tmp_path}/layout")
    client, there, _ = place(f"{docker_registry}/agent-{uuid.uuid4().hex[:8]}:1")
    sent: list[str] = []
    for _ in range(2):
        transfer.push_layout(
            Layout(tmp_path / "layout"), there, tag="1", progress=lambda blob, _: sent.append(blob.digest)
        )
        assert len(sent) == len(set(sent)) > 1
    client.close()


def test_inspect_tells_layers_packages_and_licences(desk: Desk, tmp_path: Path) -> None:
    made(desk, to=f"oci-layout:{tmp_path}/layout")
    text = run(inspect.command, f"{tmp_path}/layout", "--packages")
    assert "launch-agent: runners" in text
    assert "speech" in text
    assert "MIT" in text
    assert bom.MEDIA_TYPE in text
    told = json.loads(run(inspect.command, f"{tmp_path}/layout", "--json"))
    by_name = {each["name"]: each for each in told["packages"]}
    assert by_name["speech"]["licence"] == "MIT"
    assert sum(each["bytes"] for each in told["packages"]) <= told["size"]
    assert told["layers"][1]["packages"][0]["name"] == "speech"
    attached = json.loads(run(inspect.command, f"{tmp_path}/layout", "--bom"))
    assert attached["specVersion"] == "1.6"
    assert "hashes" in str(attached), "it is the one that the build attached"


def test_inspect_of_an_archive_of_an_older_engine(desk: Desk, tmp_path: Path) -> None:
    archive = tmp_path / "saved.tar"
    _save(desk, archive)
    told = json.loads(run(inspect.command, str(archive), "--json"))
    assert told["layers"][0]["files"] == 1
    assert json.loads(run(inspect.command, str(archive), "--bom"))["bomFormat"] == "CycloneDX"


def _save(desk: Desk, into: Path) -> None:
    """An archive as `docker save` wrote it before it knew of OCI."""
    layout = Layout(desk.base)
    manifest = origin.image(layout, OWN)
    with tarfile.open(into, "w") as archive:
        for blob, name in ((manifest.config, "c.json"), (manifest.layers[0], "x/layer.tar")):
            path = desk.base / "blobs" / "sha256" / blob.digest[7:]
            archive.add(path, arcname=name)
        told = desk.folder / "manifest.json"
        told.write_text(json.dumps([{"Config": "c.json", "RepoTags": None, "Layers": ["x/layer.tar"]}]))
        archive.add(told, arcname="manifest.json")


def test_the_difference_of_two_images(desk: Desk, tmp_path: Path) -> None:
    made(desk, to=f"oci-layout:{tmp_path}/one")
    more = image_parts.wheel(desk.folder / "index", "extra", {"extra.py": ""}, version="2.0")
    plan = desk.plan(packages=(*desk.packages, more), labels={"a": "b"})
    made(desk, plan, to=f"oci-layout:{tmp_path}/two")
    text = run(inspect.command, f"{tmp_path}/one", "--diff", f"{tmp_path}/two")
    assert "+ extra 2.0" in text
    assert "~ Labels" in text
    told = json.loads(run(inspect.command, f"{tmp_path}/two", "--diff", f"{tmp_path}/one", "--json"))
    assert [each["name"] for each in told["removed"]] == ["extra"]
    assert told["same_layers"] == 5


@pytest.fixture
def cosign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name that notes how it is called."""
    program = tmp_path / "bin" / "cosign"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\necho "$COSIGN_PASSWORD $WANDB_API_KEY $*" > "$NOTED"\nexit ${COSIGN_EXIT:-0}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("NOTED", str(tmp_path / "noted"))
    monkeypatch.setenv("COSIGN_PASSWORD", "pass")
    monkeypatch.setenv("WANDB_API_KEY", "must-not-be-passed-on")
    return tmp_path / "noted"


def test_cosign_signs_the_digest(
    desk: Desk, docker_registry: str, cosign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{docker_registry}/agent-{uuid.uuid4().hex[:8]}:1"
    key = tmp_path / "cosign.key"
    key.touch()
    found = made(desk, reference=name, sign_key=str(key))
    assert cosign.read_text() == f"pass  sign --yes --key {key} {found}\n"
    monkeypatch.setenv("COSIGN_EXIT", "3")
    with pytest.raises(ImageError, match="cosign did not sign"):
        made(desk, reference=name, sign=True)


def test_a_signature_is_refused_before_anything_is_built(
    desk: Desk, docker_registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{docker_registry}/agent-{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("PATH", "/absent")
    with pytest.raises(ImageError, match="cosign, which is not installed"):
        made(desk, reference=f"{name}:1", sign=True)
    client, there, _ = place(f"{name}:1")
    assert there.head("1") is None
    client.close()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "not said what the image is to be called"),
    ({"to": "oci-layout:"}, "is no place for an image"),
    ({"to": "tape:x"}, "is no place for an image"),
    ({"to": "oci-layout:x", "sign": True}, "only an image in a registry"),
]


@pytest.mark.parametrize(("wish", "said"), WRONG)
def test_a_wish_that_makes_no_sense_is_refused_first(desk: Desk, wish: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as told:
        made(desk, **wish)
    assert told.value.hint


def test_an_archive_holds_one_platform(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds one image"):
        made(desk, desk.plan(platforms=BOTH), to=f"docker-archive:{tmp_path}/x.tar")


def test_a_folder_of_something_else_is_left_alone(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ImageError, match="not empty"):
        made(desk, to=f"oci-layout:{tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_registry_that_is_not_there_and_a_base_that_is_not(desk: Desk, docker_registry: str) -> None:
    with pytest.raises(LaunchError, match="cannot") as told:
        made(desk, reference="127.0.0.1:9/agent:1")
    assert told.value.hint
    with pytest.raises(RegistryError) as absent:
        made(desk, desk.plan(base=f"{docker_registry}/absent/base:1"), reference=f"{docker_registry}/agent:1")
    assert "absent/base" in absent.value.message


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("text")
    (tmp_path / "empty").mkdir()
    for name in ("x", "empty"):
        with pytest.raises(ImageError, match="is no"):
            run(inspect.command, str(tmp_path / name))
    with pytest.raises(ConfigError, match="neither a folder nor a file"):
        run(push.command, "absent-layout", "127.0.0.1:9/x:1")


def test_layers_are_named_from_the_end_of_the_history(desk: Desk, tmp_path: Path) -> None:
    made(desk, to=f"oci-layout:{tmp_path}/layout")
    told = json.loads(run(inspect.command, f"{tmp_path}/layout", "--json"))
    assert [each["title"] for each in told["layers"][:3]] == ["", "packages", "launch-agent: runners"]
