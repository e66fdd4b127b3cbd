"""The options that `image render` and `image build` have in common, and the plan that they amount to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launch_agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from launch_agent.images.agent.needs import Needs
    from launch_agent.images.agent.plan import ExtraFile, Index, Plan

_OPTIONS = (
    click.option(
        "-c",
        "--config",
        "configs",
        multiple=True,
        required=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Launch config or values of the chart; later values files are laid over earlier ones.",
    ),
    click.option("--explain", is_flag=True, help="Print what the config needs and why."),
    click.option(
        "--python", default="", metavar="X.Y", help="Python of the image.  [default: the one that runs here]"
    ),
    click.option(
        "--base", default="", metavar="IMAGE", help="Image to begin with.  [default: python:X.Y-slim]"
    ),
    click.option(
        "--extra",
        "extras",
        multiple=True,
        metavar="EXTRA",
        help="Extra of the agent that the config does not show.",
    ),
    click.option(
        "--with", "more", multiple=True, metavar="PACKAGE", help="Further Python package, such as awscli."
    ),
    click.option("--system", multiple=True, metavar="PACKAGE", help="Further Debian package."),
    click.option(
        "--without",
        multiple=True,
        metavar="PACKAGE",
        help="Debian package that is not needed after all, such as git.",
    ),
    click.option(
        "--file", "files", multiple=True, metavar="SRC:DST", help="File or folder to put into the image."
    ),
    click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Label of the image."),
    click.option(
        "--index", default="", metavar="URL", help="Index of packages.  [default: as pip is configured]"
    ),
    click.option(
        "--index-user",
        default="",
        metavar="NAME",
        help="User of the index; LAUNCH_AGENT_INDEX_PASSWORD has the password.",
    ),
    click.option(
        "--index-ca",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Authority that signed the index's certificate.",
    ),
    click.option("--with-build", is_flag=True, help="Build packages that have no wheel."),
)
_PASSWORD = "LAUNCH_AGENT_INDEX_PASSWORD"  # noqa: S105 - the name of a variable
_EPOCH = "SOURCE_DATE_EPOCH"


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the common options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def needs_of(configs: Sequence[Path]) -> Needs:
    """Raises ConfigError."""
    from launch_agent.config import load
    from launch_agent.images.agent import needs

    return needs.read({str(path): load.fetch(path) for path in configs})


def plan_of(needs: Needs, given: Mapping[str, Any], platforms: Sequence[str]) -> Plan:
    """The plan for a command's options. Raises ConfigError, ImageError."""
    from dataclasses import replace

    from launch_agent.images.agent import choose, locks, prune, solve
    from launch_agent.images.agent import plan as plans

    index = _index(given)
    choices = choose.Choices(
        python=given["python"],
        platforms=plans.platforms([each for text in platforms for each in text.split(",")]),
        base=given["base"],
        extras=given["extras"],
        system=given["system"],
        without=given["without"],
        extra_packages=given["more"],
        files=tuple(_file(text) for text in given["files"]),
        index=index,
        with_build=given["with_build"],
        labels=_labels(given["labels"]),
        epoch=_epoch(os.environ.get(_EPOCH, "")),
    )
    if choices.extra_packages:
        extras, python = choose.extras_of(needs, choices), choose.python_of(choices)
        omitted = prune.packages(extras)
        solved = {
            platform: solve.solve(
                choices.extra_packages,
                locks.subset(extras, python, platform, omit=omitted),
                python,
                platform,
                index=index,
                environment=os.environ,
            )
            for platform in choices.platforms
        }
        choices = replace(choices, packages=solved)
    return choose.make(needs, choices)


def explain(needs: Needs, plan: Plan) -> str:
    """What the config needs, each with its reasons, and what the image leaves out."""
    from launch_agent.images.agent import prune

    lines = [f"{needs.name} needs"]
    for name in plan.extras:
        lines += _because(f"extra {name}", needs.extras.get(name, ("--extra",)))
    for name in plan.system_packages:
        lines += _because(f"program {name}", needs.programs.get(name, ("--system",)))
    if not plan.extras and not plan.system_packages:
        lines.append("  nothing besides the agent itself")
    lines += [f"  ({note})" for note in needs.notes]
    lines.append(f"packages: {', '.join(f'{each.name} {each.version}' for each in plan.packages)}")
    lines.append("left out:")
    lines += [f"  {name}: {reason}" for name, reason in prune.packages(plan.extras).items()]
    lines += [f"  {rule.pattern}: {rule.reason}" for rule in plan.pruning]
    return "\n".join(lines)


def _because(what: str, reasons: Sequence[str]) -> list[str]:
    return [f"  {what}", *(f"    {reason}" for reason in reasons)]


def _index(given: Mapping[str, Any]) -> Index:
    from urllib.parse import urlsplit

    from launch_agent.images.agent.plan import Index
    from launch_agent.spec.secret import Secret

    url, user, ca = given["index"], given["index_user"], given["index_ca"]
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ConfigError("--index is no address of an index", hint="such as https://pypi.example.com/simple")
    if urlsplit(url).password or urlsplit(url).username:
        raise ConfigError(
            "--index holds a password, which every user of this machine can see there",
            hint=f"give --index-user and the variable {_PASSWORD}",
        )
    if user and not url:
        raise ConfigError("--index-user goes with --index", hint="name the index")
    password = os.environ.get(_PASSWORD, "") if user else ""
    if user and not password:
        raise ConfigError(f"the password of {user} is not given", hint=f"set the variable {_PASSWORD}")
    if ca is not None and not ca.is_file():
        raise ConfigError(f"--index-ca: there is no file {ca}", hint="name a PEM file")
    return Index(url=url, user=user, password=Secret(password), ca=ca)


def _file(text: str) -> ExtraFile:
    from launch_agent.images.agent.plan import ExtraFile

    source, _, destination = text.rpartition(":")
    if not source or not destination.startswith("/") or ".." in destination.split("/"):
        raise ConfigError(
            f"--file {text!r} is not of the form SRC:DST",
            hint="DST is a path in the image: ca.crt:/etc/ssl/ca.crt",
        )
    if not Path(source).exists():
        raise ConfigError(
            f"--file {text!r}: there is no {source}", hint="name a file or a folder of this machine"
        )
    return ExtraFile(source=Path(source), destination=destination)


def _labels(given: Sequence[str]) -> dict[str, str]:
    labels = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ConfigError(f"--label {text!r} is not of the form NAME=VALUE")
        labels[name] = value
    return labels


def _epoch(text: str) -> int:
    from launch_agent.images.agent.choose import EPOCH

    if not text:
        return EPOCH
    if not text.isdigit():
        raise ConfigError(f"{_EPOCH} is {text[:30]!r}, which is no number of seconds since 1970")
    return int(text)
