"""Needs and what the user chose besides -> the plan of an image."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from launch_agent import __version__
from launch_agent.errors import ConfigError
from launch_agent.images.agent import locks, plan, prune
from launch_agent.images.agent.needs import Needs
from launch_agent.images.agent.plan import HOME, VENV, ExtraFile, Index, Package, Plan

# Where the agent answers about its health in a container, where the config does not say.
PORT = 9090
# 1980-01-01, the first day that wheels can tell.
EPOCH = 315_532_800
_PORT_VARIABLE = "LAUNCH_AGENT_METRICS_PORT"
_HEALTH = (
    "import http.client,os,sys;"
    "c=http.client.HTTPConnection('127.0.0.1',int(os.environ.get('{variable}')or {port}),timeout=4);"
    "c.request('GET','/livez');sys.exit(c.getresponse().status!=200)"
)
_SYSTEM = re.compile(r"[a-z0-9][a-z0-9+.-]+")
BUILDCTL = "buildctl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What is chosen besides the config. `python` empty is the one that runs here, `base` empty the official
    image of it. `extras` and `system` are added to what the config needs, `without` taken from its programs.
    `packages` are those of `--with`, solved, by platform."""

    python: str = ""
    platforms: tuple[str, ...] = ()
    base: str = ""
    extras: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    extra_packages: tuple[str, ...] = ()
    packages: Mapping[str, Sequence[Package]] = field(default_factory=dict)
    files: tuple[ExtraFile, ...] = ()
    index: Index = field(default_factory=Index)
    with_build: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    epoch: int = EPOCH


def python_of(choices: Choices) -> str:
    """The version of Python that the image has."""
    return plan.python_version(choices.python or f"{sys.version_info.major}.{sys.version_info.minor}")


def extras_of(needs: Needs, choices: Choices) -> tuple[str, ...]:
    """The extras of the image, sorted."""
    return tuple(sorted({*needs.extras, *choices.extras}))


def make(needs: Needs, choices: Choices) -> Plan:
    """The plan. Raises ConfigError for a choice that is none."""
    python = python_of(choices)
    platforms = plan.platforms(choices.platforms or ("linux/amd64",))
    extras = extras_of(needs, choices)
    omitted = prune.packages(extras)

    def on(platform: str) -> list[Package]:
        own = locks.subset(extras, python, platform, omit=omitted)
        known = {each.name for each in own}
        more = [each for each in choices.packages.get(platform, ()) if each.name not in known]
        return sorted([*own, *more], key=lambda each: each.name)

    packages = locks.for_platforms(platforms, on)
    port = needs.port or PORT
    return Plan(
        version=__version__,
        extras=extras,
        system_packages=_programs(needs, choices),
        packages=packages,
        python=python,
        platforms=platforms,
        base=choices.base or plan.base_of(python),
        env={
            "HOME": HOME,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            **({} if needs.port else {_PORT_VARIABLE: str(port)}),
        },
        labels=_labels(extras, choices),
        entry_point=(f"{VENV}/bin/python", "-m", "launch_agent.init", "start"),
        healthcheck=(f"{VENV}/bin/python", "-ISc", _HEALTH.format(variable=_PORT_VARIABLE, port=port)),
        pruning=prune.files(extras, {*(each.name for each in packages), locks.PROJECT}),
        extra_packages=choices.extra_packages,
        extra_files=choices.files,
        with_build=choices.with_build,
        index=choices.index,
        epoch=choices.epoch,
    )


def _programs(needs: Needs, choices: Choices) -> tuple[str, ...]:
    for name in choices.system:
        if not _SYSTEM.fullmatch(name):
            raise ConfigError(f"{name[:40]!r} is not the name of a Debian package")
    brought = {each.destination.rpartition("/")[2] for each in choices.files}
    return tuple(sorted({*needs.programs, *choices.system} - set(choices.without) - (brought & {BUILDCTL})))


def _labels(extras: Sequence[str], choices: Choices) -> dict[str, str]:
    """The annotations of the OCI image specification, and what the image is for."""
    prefix = "org.opencontainers.image"
    return {
        f"{prefix}.title": "launch-agent",
        f"{prefix}.description": "Takes jobs from launch queues and runs them",
        f"{prefix}.version": __version__,
        f"{prefix}.licenses": "Apache-2.0",
        f"{prefix}.source": "https://github.com/launch-agent/launch-agent",
        "launch-agent.extras": ",".join(extras),
        **choices.labels,
    }
