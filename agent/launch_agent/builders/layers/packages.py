"""The layer of a job's packages: installed by pip as wheels for the image's Python, kept by its content.

Nothing of a package is executed: pip takes wheels only, and its one way into building a source is closed.
pip judges markers (`; python_version < "3.12"`) by the Python that it runs on, so it is told the target's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launch_agent.assembly import layer
from launch_agent.assembly.entries import Entry, Kind, of_folder
from launch_agent.assembly.layer import Layer
from launch_agent.assembly.wheels import Target
from launch_agent.builders import program
from launch_agent.clients.oci.model import Descriptor
from launch_agent.errors import BuildError
from launch_agent.spec.build import BuildContext, BuildRecipe

VENV = "opt/venv"
_FORMAT = "1"
_LARGEST_CACHE = 10 * 1024**3
_WITHHELD = ("WANDB_API_KEY", "LAUNCH_AGENT_API_KEY")
# What runs pip: its first argument is the target's markers, the rest are pip's own.
_PIP = """
import json, sys
from pip._vendor.packaging import markers
from pip._internal.distributions.sdist import SourceDistribution
from pip._internal.exceptions import InstallationError
told = json.loads(sys.argv.pop(1))
assert callable(markers.default_environment)
assert callable(SourceDistribution.prepare_distribution_metadata)
markers.default_environment = lambda: dict(told)
def refuse(self, *_, **__):
    raise InstallationError(f"SOURCE ONLY: {self.req}")
SourceDistribution.prepare_distribution_metadata = refuse
from pip._internal.cli.main import main
sys.exit(main())
"""
_NO_WHEEL = re.compile(r"No matching distribution found for (?P<what>[^\s(;]+)")
_SOURCE = re.compile(r"SOURCE ONLY: (?P<what>.+)")
_OTHERS = "build with 'docker' or 'kaniko', which can build packages, or pin a version that has a wheel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installing:
    """What an installation is watched by: `check` raises BuildError once it is not wanted any more."""

    log: Callable[[str], None]
    check: Callable[[], None]
    environment: Mapping[str, str]


def packages(
    context: BuildContext, recipe: BuildRecipe, target: Target, python: str, cache: Path, how: Installing
) -> Layer:
    """The layer, from `cache` where it has been made before. `python` is the interpreter's path in the
    image. Raises BuildError."""
    kept = cache / _key(context, recipe, target, python)
    if found := _read(kept):
        how.log("the layer of packages is kept from an earlier build")
        os.utime(kept)
        return found
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=cache) as folder:
        root = Path(folder, "root")
        root.mkdir()
        if recipe.requirements:
            _install(context, recipe, target, root, how)
        _name_interpreter(root / "bin")
        (Path(folder) / "kept").mkdir()
        path = Path(folder, "kept", "layer.tar.gz")
        made = layer.write(_entries(root, target, python), path, title="the job's packages", check=how.check)
        told = {"digest": made.descriptor.digest, "packed": made.descriptor.size, "diff_id": made.diff_id}
        told |= {"type": made.descriptor.media_type, "size": made.size, "files": made.files}
        path.with_name("layer.json").write_text(json.dumps(told))
        if _read(kept) is None:
            shutil.rmtree(kept, ignore_errors=True)  # cut off, or half removed
            with contextlib.suppress(OSError):  # somebody else was faster
                (Path(folder) / "kept").rename(kept)
    _make_room(cache, kept)
    if found := _read(kept):
        return found
    raise BuildError(
        f"the layer of packages cannot be kept in {cache}", hint="is there room and a right to write?"
    )


def _key(context: BuildContext, recipe: BuildRecipe, target: Target, python: str) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT, target.python, str(target.platform), python]).encode())
    for name in sorted({recipe.requirements, *recipe.files} - {""}):
        digest.update(
            hashlib.sha256(name.encode() + b"\0" + (context.directory / name).read_bytes()).digest()
        )
    return digest.hexdigest()


def _read(kept: Path) -> Layer | None:
    try:
        told = json.loads((kept / "layer.json").read_text())
        path = kept / "layer.tar.gz"
        if path.stat().st_size != told["packed"]:
            return None
        return Layer(
            descriptor=Descriptor(media_type=told["type"], digest=told["digest"], size=told["packed"]),
            diff_id=told["diff_id"],
            path=path,
            size=told["size"],
            title="the job's packages",
            files=told["files"],
        )
    except (OSError, ValueError, KeyError):
        return None


def _install(context: BuildContext, recipe: BuildRecipe, target: Target, into: Path, how: Installing) -> None:
    command = [
        *(sys.executable, "-c", _PIP, json.dumps(target.environment())),
        *("install", "--target", str(into), "--only-binary", ":all:", "--no-compile", "--no-input"),
        *("--disable-pip-version-check", "--no-color", "--progress-bar", "off", *target.tags()),
        *("--requirement", recipe.requirements),
    ]
    lines: list[str] = []

    def line(text: str) -> None:
        lines.append(text)
        how.log(text)

    code = program.follow(
        command,
        environment={name: value for name, value in how.environment.items() if name not in _WITHHELD},
        line=line,
        check=how.check,
        directory=context.directory,
    )
    if code:
        raise _failure("\n".join(lines), target)


def _failure(said: str, target: Target) -> BuildError:
    if found := _SOURCE.search(said):
        return BuildError(
            f"{found['what']} comes as source only, which this builder runs none of", hint=_OTHERS
        )
    if found := _NO_WHEEL.search(said):
        return BuildError(
            f"{found['what']} has no wheel for Python {target.python} on {target.platform}", hint=_OTHERS
        )
    if "No module named pip" in said:
        return BuildError("the builder 'layers' needs pip beside the agent", hint="install pip there")
    lines = [line for line in said.splitlines() if line.strip()]
    return BuildError(f"the job's packages cannot be installed: {lines[-1] if lines else 'pip says nothing'}")


def _name_interpreter(commands: Path) -> None:
    """Commands begin with the Python that pip ran on; theirs is the image's."""
    if not commands.is_dir():
        return
    for file in commands.iterdir():
        text = file.read_bytes()
        if text.startswith(b"#!") and sys.executable.encode() in text[:400]:
            file.write_bytes(text.replace(sys.executable.encode(), f"/{VENV}/bin/python".encode(), 1))


def _entries(root: Path, target: Target, python: str) -> Iterator[Entry]:
    """A virtual environment whose Python is the base's."""
    yield Entry(path=f"{VENV}/bin/python", kind=Kind.LINK, mode=0o777, target=python)
    for name in ("python3", f"python{target.python}"):
        yield Entry(path=f"{VENV}/bin/{name}", kind=Kind.LINK, mode=0o777, target="python")
    settings = f"home = {python.rpartition('/')[0]}\ninclude-system-site-packages = false\n"
    yield Entry(path=f"{VENV}/pyvenv.cfg", content=settings.encode())
    site = f"{VENV}/lib/python{target.python}/site-packages"
    yield from of_folder(root, site, keep=lambda path: path != "bin")
    if (root / "bin").is_dir():
        yield from of_folder(root / "bin", f"{VENV}/bin")


def _make_room(cache: Path, newest: Path) -> None:
    """Drop what was not used for longest, until the rest is small enough."""
    kept = [(each, each / "layer.tar.gz") for each in cache.iterdir() if (each / "layer.json").is_file()]
    kept.sort(key=lambda pair: pair[0].stat().st_mtime)
    total = sum(file.stat().st_size for _, file in kept)
    for folder, file in kept:
        if total <= _LARGEST_CACHE:
            return
        if folder != newest:
            total -= file.stat().st_size
            shutil.rmtree(folder, ignore_errors=True)
