"""`launch-agent image render`: a folder with a Dockerfile and what it needs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from launch_agent.cli.image import options


@click.command("render")
@options.common
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Folder to write; it must be empty or not there. Needed unless --explain is given.",
)  # fmt: skip
@click.option(
    "--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Platforms, with commas or repeated."
)
@click.option("--pin", is_flag=True, help="Ask the base image's registry for its digest, and name that.")
@click.option("--plain-http", is_flag=True, help="Ask that registry by HTTP.")
def command(
    output: Path | None, platforms: tuple[str, ...], pin: bool, plain_http: bool, **given: Any
) -> None:
    """Write a Dockerfile, locked requirements and the agent's wheel, for any builder of Dockerfiles.

    The image has what the config needs and nothing else; --explain says what that is, and why.

    \b
    launch-agent image render -c values.yaml -o image/
    docker build -t registry.example.com/launch-agent image/
    """
    from launch_agent.images.agent import render, wheel

    if output is None and not given["explain"]:
        raise click.UsageError("name the folder to write: -o FOLDER")
    needs = options.needs_of(given["configs"])
    plan = options.plan_of(needs, given, platforms or ("linux/amd64", "linux/arm64"))
    if given["explain"]:
        click.echo(options.explain(needs, plan))
    if output is None:
        return
    render.check(output)
    if pin and "@" not in plan.base:
        plan = render.pinned(plan, _digest(plan.base, plain=plain_http))
    with tempfile.TemporaryDirectory(prefix="launch-agent-image-") as folder:
        click.echo(render.render(plan, wheel.write(Path(folder)), output))


def _digest(base: str, *, plain: bool) -> str:
    from launch_agent.cli.image import places
    from launch_agent.errors import ImageError
    from launch_agent.spec.image import ImageRef

    ref = ImageRef.parse(base).canonical()
    with places.repository(ref, plain=plain) as repository:
        found = repository.head(ref.tag)
    if found is None:
        raise ImageError(f"the base image {base} is not there", hint="look at --base")
    return found.digest
