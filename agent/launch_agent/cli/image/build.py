"""`launch-agent image build`: the agent's image for one config, by a Docker engine or without any."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click

from launch_agent.cli.image import options
from launch_agent.errors import ConfigError


@click.command("build")
@options.common
@click.option("-t", "--tag", "reference", default="", metavar="IMAGE", help="What the image is called.")
@click.option(
    "--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Platforms, with commas or repeated."
)
@click.option("--push", is_flag=True, help="With an engine: push the image to its registry.")
@click.option("--daemonless", is_flag=True, help="Put the image together here, without an engine.")
@click.option(
    "--to",
    default="",
    metavar="PLACE",
    help="Without an engine: registry, oci-layout:FOLDER or docker-archive:FILE.  [default: registry]",
)
@click.option("--sign", is_flag=True, help="Without an engine: sign the image by cosign.")
@click.option("--sign-key", default="", metavar="KEY", help="Key to sign with, as cosign takes it.")
@click.option(
    "--plain-http",
    is_flag=True,
    help="Without an engine: registries without TLS too, as the config's registry.plain-http.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but what names the image.")
def command(
    reference: str,
    platforms: tuple[str, ...],
    push: bool,
    daemonless: bool,
    to: str,
    sign: bool,
    sign_key: str,
    plain_http: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Build the slim image of the agent for a launch config, or for values of the chart.

    Packages are fetched by this machine's pip, as it is configured, with the versions and hashes that this
    agent was tested with. With --daemonless the same inputs make the same digest on any machine.

    \b
    launch-agent image build -c values.yaml -t registry.example.com/launch-agent --push
    launch-agent image build -c values.yaml -t registry.example.com/launch-agent --daemonless \\
        --platform linux/amd64,linux/arm64
    """
    from launch_agent.cli.image import engine

    _check(daemonless, push, reference, to, sign or bool(sign_key))
    needs = options.needs_of(given["configs"])
    plan = options.plan_of(needs, given, platforms or (_own_platform(),))
    if given["explain"]:
        click.echo(options.explain(needs, plan), err=True)
    if not daemonless:
        click.echo(engine.build(plan, reference, push=push, quiet=quiet, environment=os.environ))
        return
    from launch_agent.cli.image.daemonless import Wish, build
    from launch_agent.images.agent import wheel

    wish = Wish(
        reference=reference,
        to=to or "registry",
        sign=sign,
        sign_key=sign_key,
        plain=plain_http or needs.plain_http,
        quiet=quiet,
    )
    with tempfile.TemporaryDirectory(prefix="launch-agent-wheel-") as folder:
        click.echo(build(plan, wheel.write(Path(folder)), wish))


def _check(daemonless: bool, push: bool, reference: str, to: str, signs: bool) -> None:
    """Options of one way do not go with the other."""
    if daemonless and push:
        raise ConfigError(
            "--push is for builds by an engine", hint="--daemonless pushes by itself, unless --to is given"
        )
    if not daemonless and (to or signs):
        option = "--to" if to else "--sign"
        raise ConfigError(f"{option} goes with --daemonless", hint="add --daemonless")
    if not daemonless and not reference:
        raise ConfigError("it is not said what the image is to be called", hint="-t launch-agent:1")


def _own_platform() -> str:
    machine = os.uname().machine
    return f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"
