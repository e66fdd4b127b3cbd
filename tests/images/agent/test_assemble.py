"""The agent's image put together without an engine: what is in it, and that it is the same everywhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from launch_agent.assembly import image, layer, layout
from launch_agent.assembly.origin import Layout
from launch_agent.errors import ImageError
from launch_agent.images.agent.plan import ExtraFile, Index, Package, Plan, Pruning
from launch_agent.spec.secret import Secret
from tests.fakes import image_parts
from tests.fakes.image_desk import BOTH, Desk
from tests.fakes.image_parts import OWN, PYTHON

SITE = f"opt/launch-agent/lib/python{PYTHON}/site-packages"
# Builds in the folder that argv names, with another umask.
BUILDS = """
import os, sys
from pathlib import Path
os.umask(int(sys.argv[2], 8))
from tests.fakes.image_desk import Desk
desk = Desk(Path(sys.argv[1]))
print(desk.build(desk.plan())[0].image.digest)
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels that pip has fetched for one test, for all of them: pip takes a second each time."""
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture
def desk(tmp_path: Path, wheels: Path) -> Desk:
    made = Desk(tmp_path / "desk")
    (made.folder / "cache").mkdir()
    (made.folder / "cache" / "wheels").symlink_to(wheels)
    return made


@pytest.fixture
def fresh_desk(tmp_path: Path) -> Desk:
    """Nothing has been fetched for it."""
    return Desk(tmp_path / "desk")


def files(made: layer.Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(made.path) as archive:
        return {member.name: member for member in archive}


def content(made: layer.Layer, path: str) -> bytes:
    with tarfile.open(made.path) as archive:
        found = archive.extractfile(path)
        assert found is not None
        return found.read()


def test_packages_code_and_files_lie_on_the_base(desk: Desk) -> None:
    (desk.folder / "ca.pem").write_text("authority")
    extra = ExtraFile(source=desk.folder / "ca.pem", destination="/etc/ssl/ca.pem")
    rule = Pruning(pattern="**/tests", reason="a test's")
    (made,) = desk.build(desk.plan(extra_files=(extra,), pruning=(rule,)))
    packages, *code, last = made.image.layers
    listed = files(packages)
    assert {f"{SITE}/speech/__init__.py", "opt/launch-agent/bin/speak"} <= set(listed)
    assert f"{SITE}/speech/__pycache__/__init__.cpython-{PYTHON.replace('.', '')}.pyc" in listed
    assert not [path for path in listed if "tests" in path or "launch_agent/" in path]
    assert b"speech/tests" not in content(packages, f"{SITE}/speech-1.0.dist-info/RECORD")
    assert listed["opt/launch-agent/bin/python"].linkname == f"/usr/bin/python{PYTHON}"
    assert content(packages, "opt/launch-agent/bin/speak").startswith(b"#!/opt/launch-agent/bin/python\n")
    assert content(last, "etc/ssl/ca.pem") == b"authority"
    owned = files(code[-1])
    for path in ("home/launch_agent", "home/launch_agent/.config/wandb", "var/lib/launch-agent"):
        assert (owned[path].uid, owned[path].gid, owned[path].mode) == (1000, 0, 0o775)
    others = [member for each in (packages, *code) for member in files(each).values() if member.uid == 0]
    assert all(not member.mode & 0o022 for member in others if not member.issym()), (
        "only the user's are written"
    )
    assert all(member.mode & 0o004 for member in others), "any user reads them"


def test_a_change_of_a_module_changes_two_small_layers(desk: Desk) -> None:
    (before,) = desk.build(desk.plan())
    code = {
        "launch_agent/__init__.py": "",
        "launch_agent/runners/x.py": "A = 2\n",
        "launch_agent/spec/y.py": "",
    }
    image_parts.wheel(
        desk.folder / "own", "launch_agent", code, commands={"launch-agent": "launch_agent.x:main"}
    )
    (after,) = desk.build(desk.plan())
    old = {each.descriptor.digest for each in before.image.layers}
    new = [each.title for each in after.image.layers if each.descriptor.digest not in old]
    assert new == ["launch-agent: runners", "launch-agent 1.0"]


def test_the_settings_are_the_plans(desk: Desk) -> None:
    (made,) = desk.build(desk.plan(env={"A": "1"}))
    told = json.loads(made.image.config)["config"]
    assert told["User"] == "1000:0"
    assert told["Entrypoint"] == ["launch-agent", "start"]
    assert told["Healthcheck"]["Test"] == ["CMD", "launch-agent", "--version"]
    assert told["Healthcheck"]["Interval"] == 30_000_000_000
    assert set(told["Env"]) == {"A=1", "PATH=/opt/launch-agent/bin:/usr/bin"}
    assert told["Labels"]["org.opencontainers.image.title"] == "launch-agent"


def test_pip_of_an_official_base_is_gone(desk: Desk) -> None:
    env = {"PYTHON_VERSION": f"{PYTHON}.1"}
    base = desk.make_base("official", {f"usr/local/bin/python{PYTHON}": b""}, env=env)
    (made,) = desk.build(desk.plan(base=str(base)))
    listed = files(made.image.layers[-1])
    assert {f"usr/local/lib/python{PYTHON}/site-packages/.wh.pip", "usr/local/bin/.wh.pip"} <= set(listed)


def test_the_same_inputs_make_one_digest_in_any_folder_at_any_time(tmp_path: Path) -> None:
    """Also with another umask, time zone and language, and whosoever the files are."""
    digests = set()
    for number, (umask, language) in enumerate((("022", "C"), ("077", "C.UTF-8"))):
        folder = tmp_path / f"place-{number}"
        folder.mkdir()
        if os.getuid() == 0 and number:
            folder.chmod(0o2777)  # what is made there is of its group
            os.chown(folder, 12345, 12345)
        env = {"PYTHONPATH": "agent:.", "TZ": f"X{number}", "LANG": language, "PATH": os.defpath}
        done = subprocess.run(
            [sys.executable, "-c", BUILDS, str(folder / "desk"), umask],
            cwd=Path(__file__).parents[3], env=env, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def test_each_platform_has_the_modules_that_are_compiled_for_it(desk: Desk) -> None:
    digits = PYTHON.replace(".", "")
    both = [
        image_parts.wheel(desk.folder / "index", "fast", {f"fast.{name}.so": name}, tag=tag)
        for name, tag in (
            ("amd64", f"cp{digits}-cp{digits}-manylinux_2_17_x86_64"),
            ("arm64", f"cp{digits}-cp{digits}-manylinux_2_17_aarch64"),
        )
    ]
    fast = replace(both[0], hashes=(*both[0].hashes, *both[1].hashes))
    desk.packages.append(fast)
    made = desk.build(desk.plan(platforms=BOTH))
    for each, name in zip(made, ("amd64", "arm64"), strict=True):
        there = [path for path in files(each.image.layers[0]) if path.endswith(".so")]
        assert there == [f"{SITE}/fast.{name}.so"]
    index = image.index([each.image for each in made])
    assert [str(each.platform) for each in index.entries] == list(BOTH)
    assert made[0].image.layers[1:] == made[1].image.layers[1:], "the agent's code is one for all"


def test_another_python_gets_no_byte_code_of_this_one(desk: Desk) -> None:
    other = "3.13" if PYTHON != "3.13" else "3.12"
    base = desk.make_base("other", {f"usr/local/bin/python{other}": b""})
    (made,) = desk.build(desk.plan(base=str(base), python=other))
    assert not made.is_compiled
    assert not [path for each in made.image.layers for path in files(each) if path.endswith(".pyc")]


def test_a_second_build_asks_no_index(fresh_desk: Desk) -> None:
    (first,) = fresh_desk.build(fresh_desk.plan())
    (second,) = fresh_desk.build(fresh_desk.plan(), PIP_FIND_LINKS="/absent")
    assert first.image.digest == second.image.digest
    for kept in (fresh_desk.folder / "cache" / "layers").glob("agent-*/layer.tar.gz"):
        kept.write_bytes(b"half")
    (third,) = fresh_desk.build(fresh_desk.plan(), PIP_FIND_LINKS="/absent")
    assert third.image.digest == first.image.digest


def test_the_bill_tells_what_is_in_the_image(desk: Desk) -> None:
    (made,) = desk.build(desk.plan())
    told = {each["name"]: each for each in json.loads(made.bill)["components"]}
    assert set(told) == {"base", "speech", "launch_agent"}
    assert told["speech"]["licenses"] == [{"expression": "MIT"}]
    assert f"sha256:{told['speech']['hashes'][0]['content']}" in desk.packages[0].hashes


def test_secrets_of_the_index_are_in_no_layer(fresh_desk: Desk) -> None:
    secret, authority = "open-sesame-4711", fresh_desk.folder / "private-authority.pem"
    authority.write_text("PRIVATE AUTHORITY")
    index = Index(url="https://127.0.0.1:9/simple", user="ali", password=Secret(secret), ca=authority)
    # What pip is told by a file must not come back in what it says either.
    with pytest.raises(ImageError) as told:
        fresh_desk.build(fresh_desk.plan(index=index), PIP_NO_INDEX="0", PIP_FIND_LINKS="")
    assert secret not in f"{told.value}"
    (made,) = fresh_desk.build(fresh_desk.plan(index=index))
    for needle in (secret, "PRIVATE AUTHORITY", "127.0.0.1:9", "private-authority"):
        for each in made.image.layers:
            with tarfile.open(each.path) as archive:
                assert all(needle not in member.name for member in archive)
            assert needle.encode() not in unpacked(each.path)
        assert needle.encode() not in made.image.config + made.image.manifest.content + made.bill
    left = [
        path
        for path in (fresh_desk.folder / "cache").rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]
    assert left == []


def unpacked(path: Path) -> bytes:
    import gzip

    return gzip.decompress(path.read_bytes())


def musl(desk: Desk) -> Plan:
    files = {"lib/ld-musl-x86_64.so.1": b"", f"usr/bin/python{PYTHON}": b""}
    return desk.plan(base=str(desk.make_base("musl", files)))


def without_wheel(desk: Desk) -> Plan:
    return desk.plan(
        packages=(*desk.packages, Package(name="absent", version="1", hashes=("sha256:" + "0" * 64,)))
    )


def forged(desk: Desk) -> Plan:
    return desk.plan(packages=(replace(desk.packages[0], hashes=("sha256:" + "0" * 64,)),))


REFUSED = {
    "has no Python": lambda desk: desk.plan(base=str(desk.make_base("bare", {"etc/x": b""}))),
    "has Python 3.2, and Python": lambda desk: desk.plan(
        base=str(desk.make_base("old", {"usr/bin/python3.2": b""}))
    ),
    "musl": musl,
    "absent==1 has no wheel for Python": without_wheel,
    "its hash differs": forged,
    "needs git, openssh-client": lambda desk: desk.plan(
        system_packages=("git", "openssh-client", "ca-certificates")
    ),
    "no image on disk": lambda desk: desk.plan(base=str(desk.folder / "absent")),
    "is to be in the image": lambda desk: desk.plan(
        extra_files=(ExtraFile(source=Path("/absent"), destination="/x"),)
    ),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_be_built_is_one_clear_error(desk: Desk, said: str) -> None:
    with pytest.raises(ImageError, match=said) as told:
        desk.build(REFUSED[said](desk))
    assert told.value.hint or said == "is to be in the image"
    assert not list((desk.folder / "cache").glob("*/.making-*"))


def test_a_base_with_git_and_ssh_is_enough_and_the_user_gets_a_name(desk: Desk) -> None:
    files = {f"usr/bin/{name}": b"" for name in (f"python{PYTHON}", "git", "ssh")}
    base = desk.make_base("full", {**files, "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n"})
    (made,) = desk.build(desk.plan(base=str(base), system_packages=("git", "openssh-client")))
    known, own = content(made.image.layers[-1], "etc/passwd").decode().splitlines()
    assert known == "root:x:0:0:root:/root:/bin/sh"
    assert own == "launch_agent:x:1000:0::/home/launch_agent:/sbin/nologin"


def test_what_has_no_wheel_is_built_where_it_may_be(desk: Desk) -> None:
    source = source_of(desk.folder)
    plain = desk.plan(packages=(source,))
    with pytest.raises(ImageError, match=r"only-source==1\.0 has no wheel") as told:
        desk.build(plain)
    assert "--with-build" in told.value.hint
    (made,) = desk.build(replace(plain, with_build=True), PIP_NO_BUILD_ISOLATION="0")
    assert f"{SITE}/only_source.py" in files(made.image.layers[0])
    foreign = next(each for each in BOTH if each != OWN)
    with pytest.raises(ImageError, match="can build none"):
        desk.build(replace(plain, with_build=True, platforms=(foreign,)))


def source_of(folder: Path) -> Package:
    import hashlib

    build = "[build-system]\nrequires = []\nbuild-backend = 'hatchling.build'\n"
    build += "[project]\nname = 'only-source'\nversion = '1.0'\n"
    texts = {
        "pyproject.toml": build + "[tool.hatch.build.targets.wheel]\ninclude = ['only_source.py']\n",
        "only_source.py": "A = 1\n",
        "PKG-INFO": "Metadata-Version: 2.4\nName: only-source\nVersion: 1.0\n",
    }
    place = folder / "index" / "only_source-1.0.tar.gz"
    with tarfile.open(place, "w:gz") as archive:
        for name, text in texts.items():
            info = tarfile.TarInfo(f"only_source-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    digest = hashlib.sha256(place.read_bytes()).hexdigest()
    return Package(name="only-source", version="1.0", hashes=(f"sha256:{digest}",))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of a megabyte."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a small disk")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True, timeout=20)
    yield place
    subprocess.run(["umount", str(place)], check=True, timeout=20)


def test_a_full_disk_is_told(fresh_desk: Desk, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * 1_000_000)
    (fresh_desk.folder / "cache").symlink_to(small_disk)
    noise = os.urandom(700_000).hex()
    fresh_desk.packages.append(
        image_parts.wheel(fresh_desk.folder / "index", "noise", {"noise.py": f"A = '{noise}'"})
    )
    with pytest.raises(ImageError, match=r"No space left|no room on the disk"):
        fresh_desk.build(fresh_desk.plan())
    (small_disk / "filler").unlink()
    fresh_desk.packages.pop()
    assert fresh_desk.build(fresh_desk.plan())


def test_a_layout_on_a_full_disk_leaves_nothing(desk: Desk, small_disk: Path) -> None:
    (made,) = desk.build(desk.plan())
    filler = small_disk / "filler"
    with contextlib.suppress(OSError):
        filler.write_bytes(b"x" * 2_000_000)
    where = Layout(desk.base)
    ways = (
        partial(layout.write, [made.image]),
        partial(layout.write_archive, made.image, reference=""),
    )
    for write in ways:
        with pytest.raises(ImageError, match="No space left") as told:
            write(small_disk / "out", read_base=where.read)
        assert "make room" in told.value.hint
        assert list(small_disk.iterdir()) == [filler]
    filler.unlink()
    layout.write([made.image], small_disk / "out", read_base=where.read)
