"""`launch-agent doctor`: check a config against the world, and change nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click


@click.command("doctor")
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Config file.  [default: ~/.config/wandb/launch-config.yaml]",
)
@click.option(
    "-q", "--queue", "queues", multiple=True, metavar="QUEUE", help="Queue to look for; repeatable."
)
@click.option("-e", "--entity", metavar="ENTITY", help="Entity that owns the queues.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(path: Path | None, queues: tuple[str, ...], entity: str | None, form: str) -> None:
    """Ask everything that an agent of this config would need whether it is there: the backend and its
    queues, the cloud's credentials, the registry, the context store, the builder, the target resources.

    Nothing is changed anywhere. Exit codes: 0 all is well, 2 the config itself is wrong, 3 something is
    missing.
    """
    from launch_agent.config import load
    from launch_agent.control import doctor, wiring

    config = load.load(path, os.environ, load.Flags(queues=queues, entity=entity))
    failed = False
    for check in doctor.examine(config, os.environ, wiring.runner_options(config, os.environ)):
        failed = failed or check.error is not None
        if form == "json":
            told = {"check": check.name, "ok": check.error is None, "found": check.found}
            if check.error is not None:
                told |= {"error": check.error.message, "hint": check.error.hint}
            click.echo(json.dumps(told))
        elif check.error is None:
            click.echo(f"ok    {check.name}: {check.found}")
        else:
            click.echo(f"FAIL  {check.name}: {check.error.message}")
            if check.error.hint:
                click.echo(f"      hint: {check.error.hint}")
    sys.exit(3 if failed else 0)
