"""How a job's packages are installed: which file says so, what it draws in, and the steps that follow from
it.

The first of these that the code has decides; what was found and passed over is said in `why`:

    requirements.txt   uv.lock   poetry.lock   environment.yml   pyproject.toml   requirements.frozen.txt

Files that name packages are copied before the code, so that a change of the code alone installs nothing anew.
A file whose name Docker would not take literally is not copied by itself: then the whole code comes first.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import yaml

from launch_agent.errors import ImageError
from launch_agent.images.job import requirements

# Our own files in a context are below this folder.
OURS = ".launch-agent"
_LISTED = f"{OURS}/requirements.txt"
_FROZEN = f"{OURS}/requirements.frozen.txt"
# What COPY takes literally: no patterns, no variables, no escapes, no quoting.
_PLAIN = re.compile(r"[A-Za-z0-9_.@+=,/-]+")
# One requirement on one line (PEP 508), and no option of pip.
_REQUIREMENT = re.compile(r"[A-Za-z0-9][^\x00-\x1f\x7f]*")
Read = Callable[[str], str | None]


class Method(StrEnum):
    """The program that installs."""

    REQUIREMENTS = "requirements"
    UV = "uv"
    POETRY = "poetry"
    CONDA = "conda"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """`copied` comes into the image before the rest; everything does where `needs_code` is set. `file` is
    what is installed first, `whole` what is installed once the code is there (a requirements file with local
    lines, or `.` for the project itself). `added` are files of ours. `is_lenient` goes on without packages
    that cannot be had."""

    method: Method
    why: str
    file: str = ""
    copied: Sequence[str] = ()
    needs_code: bool = False
    whole: str = ""
    is_lenient: bool = False
    added: Mapping[str, bytes] = field(default_factory=dict)


def find(read: Read, *, frozen: bytes = b"") -> Dependencies:
    """`read` gives a file's text by its path below the context's root, None where a build would not see it.
    `frozen` is what the job's author had. Raises ImageError for files that cannot be used."""
    if read("requirements.txt") is not None:
        return _requirements(read)
    project = _toml("pyproject.toml", read)
    if project is not None and read("uv.lock") is not None:
        return _locked(Method.UV, "uv.lock", project, read)
    if project is not None and read("poetry.lock") is not None:
        return _locked(Method.POETRY, "poetry.lock", project, read)
    for name in ("environment.yml", "environment.yaml"):
        if read(name) is not None:
            return _conda(name, read)
    if project is not None and isinstance(project.get("project"), Mapping):
        return _project(project)
    text = read("requirements.frozen.txt") or frozen.decode("utf-8", "replace")
    if text.strip():
        return _frozen(text)
    return Dependencies(method=Method.NOTHING, why="the code names no packages, so none are installed")


def _requirements(read: Read) -> Dependencies:
    needs = requirements.needs_of("requirements.txt", read)
    others = f" with {', '.join(needs.files[1:])}" if needs.files[1:] else ""
    why = f"packages come from requirements.txt{others}"
    plain = [path for path in needs.files if _PLAIN.fullmatch(path)]
    if len(plain) < len(needs.files):
        return Dependencies(
            method=Method.REQUIREMENTS,
            why=f"{why}; the whole code comes first, for the name of one of these files",
            file="requirements.txt",
            needs_code=True,
        )
    if not needs.local:
        return Dependencies(method=Method.REQUIREMENTS, why=why, file="requirements.txt", copied=plain)
    return Dependencies(
        method=Method.REQUIREMENTS,
        why=f"{why}, and the code's own {', '.join(dict.fromkeys(needs.local))} after the code is there",
        file=_LISTED,
        copied=[_LISTED, *needs.constraints],
        whole="requirements.txt",
        added={_LISTED: "".join(f"{line}\n" for line in needs.lines).encode()},
    )


def _locked(method: Method, lock: str, project: Mapping[str, Any], read: Read) -> Dependencies:
    """A lock that draws in other folders of the code needs the code; that of a package installs it at
    last."""
    parsed = _toml(lock, read) or {}
    is_package = isinstance(project.get("build-system"), Mapping) or method is Method.POETRY
    draws_in = sorted(_folders_of(parsed))
    return Dependencies(
        method=method,
        why=f"packages come from {lock}"
        + (f", which draws in {', '.join(draws_in)} of the code" if draws_in else ""),
        file=lock,
        copied=() if draws_in else ("pyproject.toml", lock),
        needs_code=bool(draws_in),
        whole="." if is_package or draws_in else "",
    )


def _folders_of(lock: Mapping[str, Any]) -> set[str]:
    """Folders that a lock's packages come from, other than the project itself. uv: `source = {editable: …}`;
    Poetry: `source = {type = "directory", url = …}`."""
    found = set()
    packages = lock.get("package")
    for package in packages if isinstance(packages, list) else ():
        source = package.get("source") if isinstance(package, Mapping) else None
        if not isinstance(source, Mapping):
            continue
        for key in ("editable", "directory", "path", "virtual"):
            if isinstance(source.get(key), str) and source[key] != ".":
                found.add(source[key])
        if source.get("type") in ("directory", "file"):
            found.add(str(source.get("url")))
    if outside := [path for path in found if path.startswith(("/", "../"))]:
        raise ImageError(
            f"the lock of the job's code draws in {outside[0][:200]!r}, which is outside of the code",
            hint="set the job's build context to a folder that holds all of it",
        )
    return found


def _conda(name: str, read: Read) -> Dependencies:
    try:
        parsed = yaml.safe_load(read(name) or "")
    except (yaml.YAMLError, RecursionError) as error:
        raise ImageError(f"the job's {name} is not YAML: {' '.join(str(error).split())}") from error
    listed = parsed.get("dependencies") if isinstance(parsed, Mapping) else None
    if not isinstance(listed, list):
        raise ImageError(f"the job's {name} has no list of dependencies")
    lines = [
        str(line)
        for part in listed
        if isinstance(part, Mapping) and isinstance(part.get("pip"), list)
        for line in part["pip"]
    ]
    needs = requirements.needs_of_lines(lines, "", read)
    copied = [name, *needs.files]
    is_plain = all(_PLAIN.fullmatch(path) for path in copied) and not needs.local
    return Dependencies(
        method=Method.CONDA,
        why=f"packages come from {name}" + ("" if is_plain else ", which needs the code"),
        file=name,
        copied=copied if is_plain else (),
        needs_code=not is_plain,
    )


def _project(project: Mapping[str, Any]) -> Dependencies:
    told = project["project"]
    dynamic = told.get("dynamic")
    is_package = isinstance(project.get("build-system"), Mapping)
    if isinstance(dynamic, list) and "dependencies" in dynamic:
        return Dependencies(
            method=Method.REQUIREMENTS,
            why="packages come from pyproject.toml, whose list is made of the code: it is installed whole",
            needs_code=True,
            whole=".",
        )
    listed = told.get("dependencies", [])
    if not isinstance(listed, list) or not all(
        isinstance(each, str) and _REQUIREMENT.fullmatch(each.strip()) for each in listed
    ):
        raise ImageError("the job's pyproject.toml has a list of dependencies that is none")
    text = "".join(f"{each.strip()}\n" for each in listed)
    return Dependencies(
        method=Method.REQUIREMENTS,
        why="packages come from pyproject.toml" + (", and the project is installed" if is_package else ""),
        file=_LISTED if text else "",
        copied=(_LISTED,) if text else (),
        whole="." if is_package else "",
        added={_LISTED: text.encode()} if text else {},
    )


def _frozen(text: str) -> Dependencies:
    kept, dropped = requirements.frozen(text)
    left = f"; {dropped} of its lines mean what only the author's machine has" if dropped else ""
    return Dependencies(
        method=Method.REQUIREMENTS,
        why=f"packages come from requirements.frozen.txt, what the author had{left}",
        file=_FROZEN,
        copied=(_FROZEN,),
        is_lenient=True,
        added={_FROZEN: kept.encode()},
    )


def _toml(name: str, read: Read) -> Mapping[str, Any] | None:
    text = read(name)
    if text is None:
        return None
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ImageError(f"the job's {posixpath.basename(name)} is not TOML: {error}") from error
