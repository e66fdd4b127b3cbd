"""A plan -> a folder that any builder of Dockerfiles makes the image of.

    Dockerfile         two stages: packages are installed in one, the other is the image
    requirements.txt   the closure of what the config needs, with the hashes of the lock
    wheels/            the agent's own; where they were fetched before, all others too
    install.py, sweep.py, prune.json   what the first stage does

Nothing in it is secret: an index's password and authority are mounted while packages are installed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from launch_agent.errors import ConfigError, ImageError
from launch_agent.images.agent.plan import GROUP, USER, USER_NAME, VENV, WRITABLE, ExtraFile, Plan
from launch_agent.images.job import render as job

# As `builders.buildkit` has it; its buildctl is a static program.
BUILDKIT = "docker.io/moby/buildkit:v0.34.2"
_BUILDCTL = "buildctl"
_MOUNTS = (
    "--mount=type=secret,id=pip,target=/etc/pip.conf,required=false "
    "--mount=type=secret,id=ca,target=/build/ca.crt,required=false "
)
_IGNORE = "*\n!install.py\n!sweep.py\n!prune.json\n!requirements.txt\n!wheels/\n!files/\n"
_FOLDER_MODE = 0o775
_PREPARE = """\
import glob, os, shutil, site, sys
for path in {writable}:
    os.makedirs(path, exist_ok=True)
    os.chmod(path, {mode})
    os.chown(path, {user}, {group})
for folder in site.getsitepackages():
    for name in ("pip", "pip-*", "setuptools*", "wheel", "wheel-*", "pkg_resources", "_distutils_hack*"):
        for path in glob.glob(folder + "/" + name):
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
shutil.rmtree(os.path.join(os.path.dirname(os.__file__), "ensurepip"), True)
for path in glob.glob(os.path.dirname(sys.executable) + "/pip*"):
    os.remove(path)
"""
_ACCOUNT = """\
if not any(line.split(":")[2:3] == ["{user}"] for line in open("/etc/passwd")):
    open("/etc/passwd", "a").write("{name}:x:{user}:{group}::{home}:/sbin/nologin\\n")
"""


def render(plan: Plan, wheel: Path, into: Path, *, wheels: Sequence[Path] = ()) -> Path:
    """Write the folder `into`, which must be empty or absent; the path of its Dockerfile. `wheel` is the
    agent's own; with `wheels` the folder holds all packages, and its build asks no index.

    It appears whole or not at all. Raises ConfigError, ImageError.
    """
    check(into)
    making = into.with_name(f".{into.name}.part")
    try:
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        _write(plan, wheel, making, wheels)
        if into.exists():
            into.rmdir()
        making.rename(into)
    except OSError as error:
        raise ImageError(f"cannot write {into}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return into / "Dockerfile"


def check(into: Path) -> None:
    """Raise ConfigError where the folder cannot be written into."""
    if into.exists() and not into.is_dir():
        raise ConfigError(f"{into} is a file", hint="name a folder that is empty or not there")
    if into.is_dir() and any(into.iterdir()):
        raise ConfigError(f"the folder {into} is not empty", hint="name another, or empty it")


def requirements(plan: Plan) -> str:
    """The locked packages, one a line with a line for each hash; those of one platform have its marker."""
    machines = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
    blocks = []
    for package in plan.packages:
        head = f"{package.name}=={package.version}"
        if package.platforms:
            tests = (f"platform_machine == '{machines[each]}'" for each in package.platforms)
            head = f"{head} ; {' or '.join(tests)}"
        hashes = (f"    --hash={each}" for each in package.hashes)
        blocks.append(" \\\n".join([head, *hashes]) + f"\n    # for {', '.join(package.why)}\n")
    return "".join(blocks)


def dockerfile(plan: Plan, *, is_fetched: bool = False) -> str:
    """The text of the Dockerfile. Raises ImageError for a value that has no place in one."""
    has_secrets = not is_fetched and bool(plan.index.url or plan.index.user or plan.index.ca)
    prepare = _PREPARE.format(writable=list(WRITABLE), mode=oct(_FOLDER_MODE), user=USER, group=GROUP)
    if "openssh-client" in plan.system_packages:
        prepare += _ACCOUNT.format(user=USER, group=GROUP, name=USER_NAME, home=WRITABLE[0])
    environment = job.templates()
    environment.filters.update(text=_text)
    template = environment.get_template("agent.Dockerfile.j2")
    return template.render(
        plan=plan,
        needed=", ".join([*(plan.extras or ("no extra",)), *plan.system_packages, *plan.extra_packages]),
        venv=VENV,
        mounts=_MOUNTS if has_secrets else "",
        has_secrets=has_secrets,
        debian=[name for name in plan.system_packages if name != _BUILDCTL],
        buildkit=BUILDKIT,
        prepare=["python3", "-c", prepare],
        files=[(f"files/{number}", file) for number, file in enumerate(plan.extra_files)],
    )


def _write(plan: Plan, wheel: Path, folder: Path, wheels: Sequence[Path]) -> None:
    (folder / "wheels").mkdir()
    for each in (wheel, *wheels):
        shutil.copyfile(each, folder / "wheels" / each.name)
    for number, file in enumerate(plan.extra_files):
        _copy(file, folder / "files" / str(number))
    for name in ("install.py", "sweep.py"):
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    rules = [rule.to_json() for rule in plan.pruning]
    texts = {
        "Dockerfile": dockerfile(plan, is_fetched=bool(wheels)),
        "requirements.txt": requirements(plan),
        "prune.json": f"{json.dumps(rules, indent=1)}\n",
        ".dockerignore": _IGNORE,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _copy(file: ExtraFile, into: Path) -> None:
    into.parent.mkdir(exist_ok=True)
    if file.source.is_dir():
        shutil.copytree(file.source, into)
    elif file.source.is_file():
        shutil.copy(file.source, into)
    else:
        raise ImageError(f"{file.source} is to be in the image, and is not there")


def _text(value: str) -> str:
    """A value of ENV or LABEL, in quotes. Dockerfiles fill in `$` there, and end lines."""
    if any(character < " " for character in value):
        raise ImageError(f"{value[:60]!r} holds a character that has no place in a Dockerfile")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def pinned(plan: Plan, digest: str) -> Plan:
    """The plan with its base pinned."""
    return replace(plan, base=f"{plan.base.partition('@')[0]}@{digest}")
