"""Python packages -> the files that an installation would leave, for any platform, without running it.

Wheels are unpacked by the `installer` library. Nothing of a package is executed, so arm64 needs no emulation.

Pitfall: two compilations make the same byte code only where they run alike, since what is written of a
constant depends on who else holds it. So each runs in a process of its own, isolated, in one order.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelContentElement, WheelFile
from packaging.markers import default_environment

from launch_agent.clients.oci.model import Platform
from launch_agent.errors import ImageError

_COMPILE_SECONDS = 600
# glibc of the base images that matter: Debian 11 has 2.31, 12 has 2.36; wheels ask for that or less.
_GLIBC = (36, 35, 34, 31, 28, 27, 26, 24, 17)
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


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


def normal(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class _Wheel(WheelFile):
    """A wheel of which some files are not there."""

    def __init__(self, file: zipfile.ZipFile, drops: Callable[[str], bool]) -> None:
        super().__init__(file)
        self._drops = drops

    def get_contents(self) -> Iterator[WheelContentElement]:
        for element in super().get_contents():
            if not self._drops(element[0][0]):
                yield element


def unpack(
    wheels: Sequence[Path],
    into: Path,
    scripts: Path,
    *,
    interpreter: str,
    drops: Callable[[str], bool] = lambda _: False,
) -> None:
    """Put the files of wheels into the folder `into`, and their commands into `scripts`. `interpreter` is
    what the commands' first line names; what `drops` says of a path is left out, and not listed as installed.
    Raises ImageError for a file that is no wheel."""
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
            with zipfile.ZipFile(wheel) as file:
                install(
                    _Wheel(file, drops), destination, additional_metadata={"INSTALLER": b"launch-agent\n"}
                )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ImageError(f"{wheel.name} cannot be unpacked: {error}") from error


def compile_all(folder: Path, place: str, *, python: str) -> bool:
    """Compile all modules below `folder`, as if they lay at `place`; False where the Python that runs here is
    another than the target's, whose byte code cannot be made by it.

    The byte code is told to trust its source, so no times are in it.
    """
    if python != f"{sys.version_info.major}.{sys.version_info.minor}":
        return False
    command = [
        *(
            sys.executable,
            "-I",
            "-S",
            "-m",
            "compileall",
            "-q",
            "-f",
            "--invalidation-mode",
            "unchecked-hash",
        ),
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
