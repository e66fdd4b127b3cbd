"""Python packages -> the files that an installation would leave, for any platform, without running it.

Locked requirements are filtered by their markers for the *target's* Python and platform (pip itself judges
markers by the interpreter that it runs on), fetched by pip as wheels whose hashes are the lock's, and
unpacked by the `installer` library. Nothing of a package is executed, so arm64 needs no emulation.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile
from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement

from launch_agent.clients.oci.model import Platform
from launch_agent.errors import ImageError

_PIP_SECONDS = 900
_COMPILE_SECONDS = 600
# glibc of the base images that matter: Debian 11 has 2.31, 12 has 2.36; wheels ask for that or less.
_GLIBC = (36, 35, 34, 31, 28, 27, 26, 24, 17)
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_CONTINUED = re.compile(r"\\\n\s*")
_NO_WHEEL = re.compile(r"No matching distribution found for (?P<what>[^\s(;]+)")
_BAD_HASH = re.compile(r"THESE PACKAGES DO NOT MATCH THE HASHES|HASHES ARE REQUIRED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The Python that the packages are for: its version (`3.11`) and platform."""

    python: str
    platform: Platform

    def __post_init__(self) -> None:
        if self.platform.os != "linux" or self.platform.architecture not in _MACHINES:
            known = ", ".join(f"linux/{each}" for each in _MACHINES)
            raise ImageError(f"packages are not known for {self.platform}", hint=f"choose one of {known}")
        if not re.fullmatch(r"3\.\d{1,2}", self.python):
            raise ImageError(f"{self.python!r} is no version of Python such as 3.11")

    @property
    def machine(self) -> str:
        return _MACHINES[self.platform.architecture]

    def environment(self) -> dict[str, str]:
        """The values of PEP 508's markers there."""
        return {
            **{key: str(value) for key, value in default_environment().items()},
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_version": f"{self.python}.0",
            "sys_platform": "linux",
            "os_name": "posix",
            "platform_system": "Linux",
            "platform_machine": self.machine,
            "platform_release": "",
            "platform_version": "",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "extra": "",
        }

    def tags(self) -> Iterator[str]:
        """pip's options for wheels that run there."""
        digits = self.python.replace(".", "")
        yield from ("--python-version", self.python, "--implementation", "cp")
        for abi in (f"cp{digits}", "abi3", "none"):
            yield from ("--abi", abi)
        names = [f"manylinux_2_{minor}_{self.machine}" for minor in _GLIBC]
        for name in (*names, f"manylinux2014_{self.machine}", f"linux_{self.machine}", "any"):
            yield from ("--platform", name)


def locked(text: str, target: Target, *, only: frozenset[str] | None = None) -> list[str]:
    """The lines of a lock file that hold for the target, without their markers. `only` are normalised names.

    Raises ImageError for a line that is no pinned requirement with hashes.
    """
    environment = target.environment()
    kept = []
    for written in _CONTINUED.sub(" ", text).splitlines():
        line = written.partition(" #")[0].strip()
        if not line or line.startswith(("#", "-")):
            continue
        head, *hashes = line.split(" --hash=")
        try:
            requirement = Requirement(head)
        except InvalidRequirement as error:
            raise ImageError(f"the lock file has a line that is no requirement: {head[:80]!r}") from error
        if not hashes or not str(requirement.specifier).startswith("=="):
            raise ImageError(f"the lock file does not pin {requirement.name} by version and hash")
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        if only is not None and normal(requirement.name) not in only:
            continue
        kept.append(
            " ".join(
                [f"{requirement.name}{requirement.specifier}", *(f"--hash={each.strip()}" for each in hashes)]
            )
        )
    return kept


def normal(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def download(
    lines: Sequence[str], into: Path, target: Target, *, environment: Mapping[str, str]
) -> list[Path]:
    """Fetch the wheels of locked requirements; those that are in `into` already are not fetched again.

    pip is configured by `environment` and its own files, as ever: index, proxy and authorities are not on the
    command line. Raises ImageError naming a package that has no wheel for the target.
    """
    into.mkdir(parents=True, exist_ok=True)
    listing = into / ".requirements.txt"
    listing.write_text("".join(f"{line}\n" for line in lines))
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(into)),
        *(*target.tags(), "--find-links", str(into), "--requirement", str(listing)),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - pip, with a file of requirements that were parsed above
            command,
            env={**environment, "PIP_NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=_PIP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"the packages did not arrive within {_PIP_SECONDS} s") from error
    finally:
        listing.unlink(missing_ok=True)
    if done.returncode:
        raise _failed(done.stderr, target)
    wanted = {normal(Requirement(line.split(" --hash=")[0]).name) for line in lines}
    return sorted(path for path in into.glob("*.whl") if normal(path.name.split("-")[0]) in wanted)


def unpack(wheels: Sequence[Path], into: Path, scripts: Path, *, interpreter: str) -> None:
    """Put the files of wheels into the folder `into`, and their commands into `scripts`. `interpreter` is
    what the commands' first line names. Raises ImageError for a file that is no wheel."""
    data = into.parent / "data"
    for wheel in wheels:
        destination = SchemeDictionaryDestination(
            {
                "purelib": str(into),
                "platlib": str(into),
                "headers": str(data / "include"),
                "scripts": str(scripts),
                "data": str(data),
            },
            interpreter=interpreter,
            script_kind="posix",
        )
        try:
            with WheelFile.open(wheel) as source:
                install(source, destination, additional_metadata={"INSTALLER": b"launch-agent\n"})
        except (OSError, ValueError, KeyError) as error:
            raise ImageError(f"{wheel.name} cannot be unpacked: {error}") from error


def compile_all(folder: Path, place: str, *, python: str) -> bool:
    """Compile all modules below `folder`, as if they lay at `place`; False where the Python that runs here is
    another than the target's, whose byte code cannot be made by it.

    The byte code is told to trust its source, so no times are in it.
    """
    if python != f"{sys.version_info.major}.{sys.version_info.minor}":
        return False
    command = [
        *(sys.executable, "-I", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"),
        *("-s", str(folder), "-p", place, str(folder)),
    ]
    # Some packages ship files for other versions of Python: those stay source, as pip leaves them.
    subprocess.run(  # noqa: S603 - Python's own compiler, isolated
        command,
        env={"PATH": os.defpath, "PYTHONHASHSEED": "0"},
        capture_output=True,
        timeout=_COMPILE_SECONDS,
        check=False,
    )
    return True


def _failed(said: str, target: Target) -> ImageError:
    if found := _NO_WHEEL.search(said):
        return ImageError(
            f"{found['what']} has no wheel for Python {target.python} on {target.platform}",
            hint="build the image on that platform with --with-build, or leave the feature out that needs it",
        )
    if _BAD_HASH.search(said):
        return ImageError(
            "a package is not the one that the lock file names: its hash differs",
            hint="is the index to be trusted?",
        )
    lines = [line for line in said.splitlines() if line.strip()]
    return ImageError(
        f"the packages cannot be fetched: {lines[-1] if lines else 'pip says nothing'}",
        hint="pip's own configuration says where it looks (PIP_INDEX_URL, PIP_CERT, HTTPS_PROXY)",
    )
