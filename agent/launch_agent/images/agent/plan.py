"""What an image of the agent is to be: one value, which both ways of building it start from.

Paths in the image are the chart's: the home folder and the state folder are where its volumes are mounted.
Group 0 has the rights of the user, so that any user id works that a cluster makes up (OpenShift).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch_agent.errors import ConfigError
from launch_agent.images.agent import sweep
from launch_agent.spec.secret import Secret

USER, GROUP = 1000, 0
USER_NAME = "launch_agent"
HOME = "/home/launch_agent"
STATE = "/var/lib/launch-agent"
# A virtual environment whose Python is the base image's.
VENV = "/opt/launch-agent"
# Folders that the user may write to, where they are no volumes.
WRITABLE = (HOME, f"{HOME}/.config/wandb", STATE)
PLATFORMS = ("linux/amd64", "linux/arm64")
# Python 3.11 is the oldest that the agent runs on.
_PYTHON = re.compile(r"3\.(1[1-9]|[2-9]\d)")
_BASE = "docker.io/library/python:{python}-slim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A locked package. `hashes` are those of all its archives (`sha256:…`), `platforms` those that it is
    for (empty: all), `why` what asked for it: the agent, an extra, `--with`, or other packages."""

    name: str
    version: str
    hashes: tuple[str, ...]
    platforms: tuple[str, ...] = ()
    why: tuple[str, ...] = ()

    def line(self) -> str:
        """One line of a requirements file, without markers."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={each}" for each in self.hashes)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """Files of the packages that are left out. `pattern` is a path below site-packages (see
    `sweep.expression`); what matches one of `keep` stays. `instead` is put in the place of the one file that
    the pattern names, where it is not None. `package` is whose files they are, empty for all packages;
    `reason` is a sentence."""

    pattern: str
    reason: str
    package: str = ""
    keep: tuple[str, ...] = ()
    instead: str | None = None

    def drops(self, path: str) -> bool:
        """Whether a path relative to site-packages is left out."""
        return self.instead is None and sweep.drops(path, self.pattern, self.keep)

    def to_json(self) -> dict[str, object]:
        """As `sweep.sweep` takes it."""
        return {"pattern": self.pattern, "keep": list(self.keep), "instead": self.instead}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraFile:
    """A file or folder of this machine, and its absolute path in the image."""

    source: Path
    destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Where packages come from, for builds that fetch them: all empty leaves it to pip's configuration.
    `password` goes with `user`; none of the three is ever written into an image."""

    url: str = ""
    user: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An image of the agent. Everything is decided: building it asks no more questions.

    `packages` is the closure of `extras` and `extra_packages`, without the agent itself, sorted by name.
    `python` is `3.12`. `base` is a reference, with a digest where one is known. `entry_point` and
    `healthcheck` are commands; the image has no further arguments of its own. `env` is added to the base's,
    `path` goes before its PATH. `epoch` is the time of every file, in seconds since 1970.
    """

    version: str
    extras: tuple[str, ...]
    system_packages: tuple[str, ...]
    packages: tuple[Package, ...]
    python: str
    platforms: tuple[str, ...]
    base: str
    env: Mapping[str, str]
    labels: Mapping[str, str]
    entry_point: tuple[str, ...]
    healthcheck: tuple[str, ...]
    pruning: tuple[Pruning, ...] = ()
    extra_packages: tuple[str, ...] = ()
    extra_files: tuple[ExtraFile, ...] = ()
    with_build: bool = False
    index: Index = field(default_factory=Index)
    user: int = USER
    group: int = GROUP
    epoch: int = 315_532_800

    @property
    def path(self) -> str:
        return f"{VENV}/bin"

    @property
    def site_packages(self) -> str:
        """Where packages lie in the image."""
        return f"{VENV}/lib/python{self.python}/site-packages"

    def packages_for(self, platform: str) -> Iterator[Package]:
        """The packages that the image has on a platform (`linux/arm64`)."""
        return (each for each in self.packages if not each.platforms or platform in each.platforms)

    def drops(self, path: str) -> bool:
        """Whether a path relative to site-packages is left out of the image."""
        return any(rule.drops(path) for rule in self.pruning)

    def prune(self, folder: Path) -> int:
        """Leave out of an unpacked site-packages what the image has not; the bytes that this saved."""
        return sweep.sweep(folder, [rule.to_json() for rule in self.pruning])


def base_of(python: str) -> str:
    """The image that an agent's begins with where no other is named."""
    return _BASE.format(python=python)


def python_version(text: str) -> str:
    """A version that an image can be made for. Raises ConfigError."""
    if not _PYTHON.fullmatch(text):
        raise ConfigError(
            f"{text[:20]!r} is not a version of Python that an image is made for", hint="3.11 or newer: 3.12"
        )
    return text


def platforms(texts: Sequence[str]) -> tuple[str, ...]:
    """Each platform once, in their order. Raises ConfigError for one that no image is made for."""
    for text in texts:
        if text not in PLATFORMS:
            raise ConfigError(
                f"{text[:40]!r} is not a platform that an image is made for",
                hint=f"choose of {', '.join(PLATFORMS)}",
            )
    return tuple(dict.fromkeys(texts))
