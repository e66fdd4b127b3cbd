"""Checks, without the network, that the lock files are what pyproject.toml and the other inputs ask for.

`make lock` makes them. This check is for the person who edits a requirement and forgets to: each requirement
must be locked at a version that it accepts, each locked version must carry hashes, and no line may name an
index, a URL or a file, since where packages come from is the business of pip's own configuration.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock file by its path from the root, and where its requirements come from."""

    path: str
    extras: tuple[str, ...] | None = None  # of pyproject.toml; None: not made from it
    inputs: tuple[str, ...] = ()


LOCKS = (
    Lock(path="requirements/run.lock", extras=("docker", "server"), inputs=("requirements/build.in",)),
    # Of all that an image of the agent may hold; it travels with the package.
    Lock(
        path="agent/launch_agent/images/agent/agent.lock",
        extras=("docker", "kubernetes", "aws", "gcp", "azure", "server", "postgresql", "image"),
    ),
    Lock(path="requirements/dev.lock", extras=("dev",), inputs=("requirements/build.in",)),
    Lock(path="requirements/go.lock", inputs=("requirements/go.in",)),
    Lock(path="tests/interop/requirements.lock", inputs=("tests/interop/requirements.txt",)),
    Lock(path="tests/interop/kubernetes.lock", inputs=("tests/interop/kubernetes.txt",)),
)


def project_requirements(project: dict[str, object], extras: Iterable[str]) -> Iterator[Requirement]:
    """The requirements of a pyproject `[project]` table; extras that name the project itself are followed."""
    optional: dict[str, list[str]] = project.get("optional-dependencies", {})  # type: ignore[assignment]
    lines: list[str] = [*project.get("dependencies", [])]  # type: ignore[misc] # a TOML table has no schema
    for extra in extras:
        lines += optional[extra]
    for line in lines:
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == canonicalize_name(str(project["name"])):
            yield from project_requirements({**project, "dependencies": []}, requirement.extras)
        else:
            yield requirement


def file_requirements(text: str) -> Iterator[Requirement]:
    """The requirements of a plain requirements file: one a line, comments allowed, no options."""
    for line in text.splitlines():
        if words := re.sub(r"(^|\s)#.*", "", line).strip():
            yield Requirement(words)


def locked(text: str) -> tuple[dict[str, list[Version]], list[str]]:
    """A lock's versions by package (several where markers divide them), and what is wrong with its lines."""
    versions: dict[str, list[Version]] = {}
    problems = []
    for entry in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not entry.strip() or entry.lstrip().startswith("#"):
            continue
        pinned = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)\s", f"{entry} ")
        if pinned is None:
            problems.append(f"{entry.split()[0]!r} is not a version of a package")
            continue
        versions.setdefault(canonicalize_name(pinned[1]), []).append(Version(pinned[2]))
        if "--hash=sha256:" not in entry:
            problems.append(f"{pinned[1]} has no hash")
    return versions, problems


def check(requirements: Iterable[Requirement], text: str) -> Iterator[str]:
    """What a lock's text lacks to satisfy the requirements."""
    versions, problems = locked(text)
    yield from problems
    for requirement in requirements:
        found = versions.get(canonicalize_name(requirement.name), [])
        if not any(requirement.specifier.contains(version, prereleases=True) for version in found):
            has = ", ".join(map(str, found)) or "nothing"
            yield f"{requirement} is wanted, {has} is locked"


def main() -> int:
    """0 where every lock fits, 1 with one line for each thing that does not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    findings = []
    for lock in LOCKS:
        wanted = [] if lock.extras is None else list(project_requirements(project, lock.extras))
        for path in lock.inputs:
            wanted += file_requirements((ROOT / path).read_text(encoding="utf-8"))
        text = (ROOT / lock.path).read_text(encoding="utf-8")
        findings += [f"{lock.path}: {said}" for said in check(wanted, text)]
    for finding in findings:
        print(finding, file=sys.stderr)
    if findings:
        print("run 'make lock'", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
