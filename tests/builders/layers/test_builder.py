"""Images without an engine: real pip, a real registry, a base that is made here."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch_agent.assembly import image, layer, transfer
from launch_agent.assembly.entries import Entry
from launch_agent.builders.layers.builder import LayersBuilder
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.dockerconfig import DockerConfig
from launch_agent.clients.oci.model import Platform
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import BuildError
from launch_agent.registries.generic import GenericRegistry
from launch_agent.spec.build import BuildContext, BuildRecipe
from launch_agent.spec.image import ImageRef

AMD64 = Platform(os="linux", architecture="amd64")


def wheel(folder: Path, name: str, text: str) -> None:
    """A wheel of one module and one command."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-run = {name}:main\n",
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, content in {**files, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            archive.writestr(path, content)


class Site:
    """A registry with a base image, an index of packages, and a builder."""

    def __init__(self, address: str, folder: Path) -> None:
        self.folder = folder
        self.address = address
        self.client = RegistryClient(address)
        self.index = folder / "index"
        self.index.mkdir()
        wheel(self.index, "greeting", "def main():\n    pass\n")
        self.environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index), "HOME": str(folder)}
        name = f"{address}/layers-{uuid.uuid4().hex[:8]}"
        self.base = self.make_base(
            f"{name}/base", {"PYTHON_VERSION": "3.12.4", "PATH": "/usr/local/bin:/bin"}
        )
        registry = GenericRegistry(f"{name}/jobs", DockerConfig(self.environment))
        self.builder = LayersBuilder(
            registry,
            cache=folder / "cache",
            environment=self.environment,
            platform="linux/amd64",
            timeout=120,
        )

    def make_base(self, repository: str, env: dict[str, str], entries: list[Entry] | None = None) -> str:
        ref = ImageRef.parse(f"{repository}:{uuid.uuid4().hex}")
        below = layer.write(
            entries or [Entry(path="etc/base", content=b"base")], self.folder / "base.tar.gz", title="base"
        )
        made = image.assemble(image.Base(name="", platform=AMD64), [below], image.Settings(env=env))
        transfer.push(made, Repository(self.client, ref.path), base_from=None, tag=ref.tag)
        return str(ref)

    def context(self, files: dict[str, str], **recipe: Any) -> BuildContext:
        code = self.folder / f"code-{uuid.uuid4().hex}"
        code.mkdir()
        for name, text in files.items():
            (code / name).write_text(text)
        needs = {"method": "requirements", "requirements": "requirements.txt", "files": ["requirements.txt"]}
        told = {"base": self.base, "python": "3.12", "entry_point": ["python", "train.py"], **needs, **recipe}
        return BuildContext(
            directory=code,
            dockerfile=".launch-agent/Dockerfile",
            digest=uuid.uuid4().hex,
            why="a test's",
            is_generated=True,
            labels={"a": "b"},
            recipe=BuildRecipe(**told),
        )

    def build(self, context: BuildContext, lines: list[str], stop: threading.Event | None = None) -> ImageRef:
        ref = ImageRef.parse(f"{self.builder.repository}:{context.digest}")
        return self.builder.build(context, ref, log=lines.append, stop=stop or threading.Event())

    def content(self, ref: ImageRef) -> tuple[dict[str, Any], list[dict[str, tarfile.TarInfo]]]:
        """The configuration, and what each layer lists."""
        place = Repository(self.client, ref.path)
        manifest = place.manifest(ref.digest)
        listed = []
        for each in manifest.layers:
            with tarfile.open(fileobj=io.BytesIO(b"".join(place.read_blob(each)))) as archive:
                listed.append({member.name: member for member in archive})
        return place.config(manifest), listed


@pytest.fixture
def site(docker_registry: str, tmp_path: Path) -> Site:
    return Site(docker_registry, tmp_path)


JOB = {"requirements.txt": "greeting==1.0\n", "train.py": "import greeting\n"}


@pytest.mark.req("IMG-2")
def test_base_packages_and_code_become_an_image_in_the_registry(site: Site) -> None:
    site.builder.verify()
    made = site.context(JOB)
    ref = ImageRef.parse(f"{site.builder.repository}:{made.digest}")
    assert site.builder.find(ref) is None
    found = site.build(made, [])
    assert site.builder.find(ref) == found
    config, (_, packages, code) = site.content(found)
    told = config["config"]
    assert told["Entrypoint"] == ["python", "train.py"]
    assert (told["User"], told["WorkingDir"], told["Labels"]) == ("1000:0", "/home/launch/job", {"a": "b"})
    assert "PATH=/opt/venv/bin:/usr/local/bin:/bin" in told["Env"]
    assert packages["opt/venv/bin/python"].linkname == "/usr/local/bin/python3.12"
    assert {"opt/venv/lib/python3.12/site-packages/greeting.py", "opt/venv/bin/greeting-run"} <= set(packages)
    assert code["home/launch/job/train.py"].uid == 1000
    assert code["home"].uid == 0


def test_a_change_of_the_code_alone_installs_nothing_anew(site: Site) -> None:
    first = site.build(site.context(JOB), [])
    lines: list[str] = []
    began = time.monotonic()
    second = site.build(site.context({**JOB, "train.py": "print(2)\n"}), lines)
    took = time.monotonic() - began
    assert "the layer of packages is kept from an earlier build" in lines
    digests = [
        [each.digest for each in Repository(site.client, ref.path).manifest(ref.digest).layers]
        for ref in (first, second)
    ]
    assert digests[0][:2] == digests[1][:2]
    assert digests[0][2] != digests[1][2]
    assert took < 10, "two seconds on a machine that does nothing else"


def test_equal_content_makes_one_digest_in_any_folder_and_cache(docker_registry: str, tmp_path: Path) -> None:
    digests = set()
    base = ""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        site = Site(docker_registry, tmp_path / name)
        base = base or site.base
        digests.add(site.build(site.context(JOB, base=base), []).digest)
    assert len(digests) == 1


def test_markers_are_those_of_the_images_python(site: Site) -> None:
    text = 'greeting==1.0; python_version >= "3.12"\nabsent==1; python_version < "3.12"\n'
    _, (_, packages, _) = site.content(site.build(site.context({"requirements.txt": text}), []))
    assert "opt/venv/lib/python3.12/site-packages/greeting.py" in packages


def test_a_python_is_found_in_the_layers_of_a_base_that_does_not_say_it(site: Site) -> None:
    name = f"{site.address}/layers-{uuid.uuid4().hex[:8]}"
    base = site.make_base(name, {"A": "b"}, [Entry(path="usr/bin/python3.12", mode=0o755)])
    _, (_, packages, _) = site.content(site.build(site.context(JOB, base=base), []))
    assert packages["opt/venv/bin/python"].linkname == "/usr/bin/python3.12"


def test_nothing_of_a_source_is_run(site: Site) -> None:
    proof = site.folder / "ran"
    source = site.folder / "evil"
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(proof)!r}, 'w')\n")
    text = f"evil @ file://{source}\n"
    with pytest.raises(BuildError, match="source only") as told:
        site.build(site.context({"requirements.txt": text}), [])
    assert "kaniko" in told.value.hint
    assert not proof.exists()


REFUSED: list[tuple[Callable[[Site], BuildContext], str]] = [
    (lambda site: site.context(JOB, method="conda"), "conda"),
    (lambda site: site.context(JOB, whole="."), "itself a package"),
    (lambda site: site.context(JOB, python="3.11"), "has Python 3.12, and the job wants Python 3.11"),
    (lambda site: site.context({"requirements.txt": "absent==1\n"}), "absent==1 has no wheel"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_built_is_one_clear_error(
    site: Site, make: Callable[[Site], BuildContext], said: str
) -> None:
    made = make(site)
    with pytest.raises(BuildError, match=said) as told:
        site.build(made, [])
    assert told.value.hint
    assert site.builder.find(ImageRef.parse(f"{site.builder.repository}:{made.digest}")) is None


def test_a_job_with_its_own_dockerfile_is_told_who_can_build_it(site: Site) -> None:
    made = BuildContext(directory=site.folder, dockerfile="Dockerfile.wandb", digest="0" * 40, why="")
    with pytest.raises(BuildError, match=r"Dockerfile\.wandb") as told:
        site.build(made, [])
    assert "docker" in told.value.hint


def test_a_build_that_nobody_waits_for_ends(site: Site) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(BuildError, match="stopped"):
        site.build(site.context(JOB), [], stop)
    assert not list((site.folder / "cache").glob(".making-*"))


def test_a_layer_that_was_cut_off_is_made_anew(site: Site) -> None:
    site.build(site.context(JOB), [])
    kept = next(path for path in (site.folder / "cache").iterdir())
    assert json.loads((kept / "layer.json").read_text())["files"]
    whole = (kept / "layer.tar.gz").read_bytes()
    (kept / "layer.tar.gz").write_bytes(b"half")
    _, (_, packages, _) = site.content(site.build(site.context(JOB), []))
    assert "opt/venv/lib/python3.12/site-packages/greeting.py" in packages
    assert (kept / "layer.tar.gz").read_bytes() == whole
