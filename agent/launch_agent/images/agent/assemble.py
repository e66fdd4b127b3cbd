"""A plan -> the agent's image for each platform, put together here: no engine, no privileges, no emulation.

On the base lie: the packages, which change with the lock, in a layer that is kept between builds; the agent's
code, in layers by its parts, so that a change of some modules sends little; what changes with any module (the
package's list of files); and the plan's own files, where it has any. Nothing of a package or of the base is
run.

What takes running something cannot be had here: a system's packages. Where the config needs git or ssh, the
base must have them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform as machine
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch_agent.assembly import contents, fetching, image, kept, layer, origin, programs, wheels
from launch_agent.assembly.entries import Entry, Kind, of_folder
from launch_agent.assembly.fetching import Report, Source
from launch_agent.assembly.image import Base, Image, Settings
from launch_agent.assembly.layer import Layer, Owner
from launch_agent.assembly.origin import Origin
from launch_agent.assembly.wheels import Target
from launch_agent.clients.oci.model import Platform
from launch_agent.errors import ImageError
from launch_agent.images.agent import bom
from launch_agent.images.agent.plan import HOME, USER_NAME, VENV, WRITABLE, Plan
from launch_agent.images.agent.sweep import sweep

# Another format of the packages' layer is another key in the cache.
_FORMAT = "1"
# What a system package brings, where its program has another name.
_PROGRAMS = {"openssh-client": "ssh", "ca-certificates": ""}
# The agent's folders by how they change together, so that each layer is well below a megabyte.
_PARTS = {
    "runners": {"runners"},
    "kinds": {"builders", "sources", "stores", "registries", "environments", "queues"},
    "core": {"clients", "config", "control", "spec", "telemetry"},
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """An image for one platform, its bill of materials, and whether its modules are byte-compiled."""

    image: Image
    bill: bytes
    is_compiled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What an assembly works with: `wheel` is the agent's own, `cache` the folder that is kept, `scratch` one
    that must live as long as the images are used. `name` is what the image will be called, `base` what its
    base is called in a registry; a path of this machine must be neither, as it would be in the image."""

    origin: Origin
    wheel: Path
    cache: Path
    scratch: Path
    environment: Mapping[str, str]
    name: str = ""
    base: str = ""
    report: Report = lambda what, done, total: None


def assemble(plan: Plan, bench: Bench) -> list[Assembled]:
    """The images of all the plan's platforms. Raises ImageError, RegistryError."""
    code = _code(plan, bench)
    return [_one(plan, Platform.parse(text), bench, *code) for text in plan.platforms]


def _one(
    plan: Plan, platform: Platform, bench: Bench, code: Sequence[Layer], own: Sequence[contents.Package]
) -> Assembled:
    base = origin.base(bench.origin, platform)
    lists = bench.cache / "lists"
    python, _ = programs.python(base, bench.origin, plan.python, cache=lists)
    _check_system(plan, base, bench, lists)
    target = Target(python=plan.python, platform=platform)
    needed, told = _packages(plan, target, python, bench)
    layers = [needed, *code]
    if files := [*_gone(base, plan), *_account(plan, base, bench, lists), *_files(plan)]:
        path = bench.scratch / f"files-{platform.architecture}.tar.gz"
        layers.append(layer.write(files, path, title="files", epoch=plan.epoch))
    told_base = {"name": bench.base, "digest": base.digest}
    annotations = {f"org.opencontainers.image.base.{key}": text for key, text in told_base.items() if text}
    made = image.assemble(base, layers, _settings(plan, base), annotations=annotations, epoch=plan.epoch)
    packages = [*_of_json(told["packages"]), *own]
    bill = bom.document(
        packages,
        name=bench.name or f"launch-agent:{plan.version}",
        digest=made.digest,
        base=bench.base or "base",
        base_digest=base.digest,
        hashes=told["hashes"],
        epoch=plan.epoch,
    )
    return Assembled(image=made, bill=bill, is_compiled=bool(told["compiled"]))


def _check_system(plan: Plan, base: Base, bench: Bench, lists: Path) -> None:
    wanted = {name: _PROGRAMS.get(name, name) for name in plan.system_packages}
    names = [program for program in wanted.values() if program]
    if not names:
        return
    if lacking := programs.lacking(base, bench.origin, names, cache=lists):
        packages = [name for name, program in wanted.items() if program in lacking]
        without = " ".join(f"--without {name}" for name in packages)
        raise ImageError(
            f"the config needs {', '.join(packages)}, which the base image {base.name} does not have, and "
            "without an engine nothing can be installed into it",
            hint=f"name a base image that has it: --base python:{plan.python} has git and ssh. Or build with "
            f"an engine; or, where no job asks for it: {without}",
        )


def _packages(plan: Plan, target: Target, python: str, bench: Bench) -> tuple[Layer, Any]:
    """The layer of packages, with what is in it."""
    lines = [each.line() for each in plan.packages_for(str(target.platform))]
    rules = [dataclasses.asdict(rule) for rule in plan.pruning]
    with_code = plan.python == f"{sys.version_info.major}.{sys.version_info.minor}"
    # Byte code belongs to the release that made it, so a build on another one is another layer.
    maker = machine.python_version() if with_code else ""
    asked = [_FORMAT, target.python, str(target.platform), python, maker, plan.epoch, lines, rules]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def make(path: Path) -> tuple[Layer, Any]:
        index = plan.index
        source = Source(
            environment=bench.environment,
            url=index.url,
            user=index.user,
            password=index.password,
            ca=index.ca,
            with_build=plan.with_build,
        )
        came = fetching.fetch(lines, target, bench.cache / "wheels", source, report=bench.report)
        with tempfile.TemporaryDirectory(prefix="launch-agent-") as folder:
            root = Path(folder)
            compiled = _unpack(plan, [each.path for each in came], root, bench.report)
            bench.report("layer", 0, 1)
            entries = [*_environment(plan, python), *_tree(root, plan)]
            made = layer.write(entries, path, title="packages", epoch=plan.epoch)
            bench.report("layer", 1, 1)
        packages = [_to_json(each) for each in contents.whole([_read(made)])]
        hashes = {each.name: each.digest for each in came}
        return made, {"packages": packages, "hashes": hashes, "compiled": compiled}

    return kept.layer(bench.cache / "layers", f"agent-{key}", make)


def _code(plan: Plan, bench: Bench) -> tuple[list[Layer], Sequence[contents.Package]]:
    """The layers of the agent's code; the last one has the folders that its user may write to."""
    with tempfile.TemporaryDirectory(prefix="launch-agent-") as folder:
        root = Path(folder)
        _unpack(plan, [bench.wheel], root, lambda *_: None)
        package = f"{plan.site_packages.strip('/')}/launch_agent"
        parts: dict[str, list[Entry]] = {name: [] for name in (*_PARTS, "rest", "")}
        for entry in _tree(root, plan):
            parts[_part(entry.path, package)].append(entry)
        writable = [Entry(path=each.strip("/"), kind=Kind.FOLDER, mode=0o775) for each in WRITABLE]
        parts[""] += writable
        made = [
            layer.write(
                entries,
                bench.scratch / f"code-{name}.tar.gz",
                title=f"launch-agent: {name}" if name else f"launch-agent {plan.version}",
                owner=Owner(uid=plan.user, gid=plan.group),
                belong=frozenset(each.path for each in writable),
                epoch=plan.epoch,
            )
            for name, entries in parts.items()
            if entries
        ]
    return made, contents.whole([_read(each) for each in made])


def _part(path: str, package: str) -> str:
    """The layer of the agent's code that a path belongs to; empty for what is not its modules."""
    if not path.startswith(f"{package}/"):
        return ""
    first = path.removeprefix(f"{package}/").partition("/")[0]
    return next((name for name, folders in _PARTS.items() if first in folders), "rest")


def _read(made: Layer) -> contents.Contents:
    with made.path.open("rb") as content:
        return contents.read(iter(lambda: content.read(1 << 20), b""), made.title)


def _unpack(plan: Plan, files: Sequence[Path], root: Path, report: Report) -> bool:
    """Unpack wheels below `root` without what the plan leaves out; whether they are byte-compiled."""
    site, scripts = root / "site", root / "bin"
    site.mkdir()
    removing = [rule for rule in plan.pruning if rule.instead is None]

    def drops(path: str) -> bool:
        return any(rule.drops(path) for rule in removing)

    for number, file in enumerate(files):
        report("unpacking", number, len(files))
        wheels.unpack([file], site, scripts, interpreter=f"{VENV}/bin/python", drops=drops)
    report("unpacking", len(files), len(files))
    sweep(site, [dataclasses.asdict(rule) for rule in plan.pruning])
    report("compiling", 0, 1)
    compiled = wheels.compile_all(site, plan.site_packages, python=plan.python)
    report("compiling", 1, 1)
    return compiled


def _tree(root: Path, plan: Plan) -> Iterator[Entry]:
    yield from of_folder(root / "site", plan.site_packages.strip("/"))
    if (root / "bin").is_dir():
        yield from of_folder(root / "bin", f"{VENV.strip('/')}/bin")


def _environment(plan: Plan, python: str) -> Iterator[Entry]:
    """A virtual environment whose Python is the base's."""
    folder = VENV.strip("/")
    yield Entry(path=f"{folder}/bin/python", kind=Kind.LINK, mode=0o777, target=python)
    for name in ("python3", f"python{plan.python}"):
        yield Entry(path=f"{folder}/bin/{name}", kind=Kind.LINK, mode=0o777, target="python")
    told = (
        f"home = {python.rpartition('/')[0]}\ninclude-system-site-packages = false\nversion = {plan.python}\n"
    )
    yield Entry(path=f"{folder}/pyvenv.cfg", content=told.encode())


def _gone(base: Base, plan: Plan) -> Iterator[Entry]:
    """Marks that take what installs packages out of the official images, whose places for it are known."""
    if not base.env.get("PYTHON_VERSION"):
        return
    library = f"usr/local/lib/python{plan.python}"
    installers = (
        f"{library}/site-packages/pip",
        f"{library}/site-packages/setuptools",
        f"{library}/ensurepip",
    )
    commands = (f"usr/local/bin/{name}" for name in ("pip", "pip3", f"pip{plan.python}"))
    for path in (*installers, *commands):
        folder, _, name = path.rpartition("/")
        yield Entry(path=f"{folder}/{contents.WHITEOUT}{name}")


def _account(plan: Plan, base: Base, bench: Bench, lists: Path) -> Iterator[Entry]:
    """ssh does not start for a user that has no name."""
    if "openssh-client" not in plan.system_packages:
        return
    known = programs.accounts(base, bench.origin, cache=lists)
    if any(line.split(":")[2:3] == [str(plan.user)] for line in known.splitlines()):
        return
    before = f"{known.rstrip()}\n" if known.strip() else ""
    own = f"{USER_NAME}:x:{plan.user}:{plan.group}::{HOME}:/sbin/nologin\n"
    yield Entry(path="etc/passwd", content=f"{before}{own}".encode())


def _files(plan: Plan) -> Iterator[Entry]:
    for each in plan.extra_files:
        place = os.path.normpath(each.destination).strip("/")
        if each.source.is_dir():
            yield from of_folder(each.source, place)
        elif each.source.is_file():
            mode = 0o755 if os.access(each.source, os.X_OK) else 0o644
            yield Entry(path=place, mode=mode, source=each.source)
        else:
            raise ImageError(f"{each.source} is to be in the image, and is not there")


def _settings(plan: Plan, base: Base) -> Settings:
    return Settings(
        entry_point=plan.entry_point,
        env={**plan.env, "PATH": f"{plan.path}:{base.env.get('PATH', _PATH)}"},
        user=f"{plan.user}:{plan.group}",
        working_dir="/",
        labels=plan.labels,
        healthcheck=plan.healthcheck,
        stop_signal="SIGTERM",
    )


def _to_json(package: contents.Package) -> dict[str, Any]:
    return {**dataclasses.asdict(package), "kind": package.kind.value}


def _of_json(values: Sequence[Mapping[str, Any]]) -> list[contents.Package]:
    return [contents.Package(**{**each, "kind": contents.Kind(each["kind"])}) for each in values]
