"""`launch-agent demo`: a dozen jobs from two queues to their ends, on this machine, in half a minute.

Nothing is faked: the server, the agent and the containers are those that a team would run, the agent as a
process of its own. `jobs` says what is submitted and how it must end, `stage` sets up and tears down, `code`
and `repository` are for the jobs whose images are built, `view` shows.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

# What is left of half a minute after the start, with room for a slow machine.
_PATIENCE = 90.0
_ROUND_SECONDS = 0.2


@click.command("demo")
@click.option(
    "--on",
    "where",
    type=click.Choice(["auto", "docker", "process"]),
    default="auto",
    show_default=True,
    help="Run the jobs as containers or as processes; auto: containers if a Docker engine answers.",
)
@click.option("--image", default="", metavar="IMAGE", help="Image of the containers, one that has a shell.")
@click.option("--plain", is_flag=True, help="Print lines instead of a live table.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where to put the logs.  [default: a temporary folder]",
)
def command(where: str, image: str, plain: bool, folder: Path | None) -> None:
    """Watch a dozen jobs go from queues to containers, on this machine.

    Starts a queue server and an agent, submits ten jobs to two queues (one of them prioritised), stops one
    while it runs, and shows how each comes to its end. Where a Docker engine answers, two more are code, of
    a folder and of a Git repository, that the agent builds images of. Exit code 0 if every job ended as it
    must.
    """
    from launch_agent.cli.demo.stage import Stage
    from launch_agent.cli.demo.view import show, summary

    live = not plain and sys.stdout.isatty()
    with Stage(where=where, image=image, folder=folder) as stage:
        click.echo(stage.introduction)
        began = time.monotonic()
        with show([act.job for act in stage.acts], live=live) as update:
            while True:
                stage.play(time.monotonic() - began)
                update(stage.acts)
                if stage.is_over or time.monotonic() - began > _PATIENCE:
                    break
                stage.check_agent()
                time.sleep(_ROUND_SECONDS)
        stage.end()
        text, good = summary(stage.acts, stage.folder)
    click.echo(f"\n{text}")
    sys.exit(0 if good else 1)
