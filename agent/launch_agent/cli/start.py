"""`launch-agent start`: run an agent. The flags are those of `wandb launch-agent`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command("start")
@click.option("-q", "--queue", "queues", multiple=True, metavar="QUEUE", help="Queue to poll; repeatable.")
@click.option("-e", "--entity", metavar="ENTITY", help="Entity that owns the queues.")
@click.option("-j", "--max-jobs", type=int, metavar="N", help="Most jobs at the same time; -1 for no limit.")
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Config file.  [default: ~/.config/wandb/launch-config.yaml]",
)
@click.option(
    "-l", "--log-file", metavar="PATH", help="File to log to; - for standard output.  [default: stderr]"
)
@click.option("-v", "--verbose", count=True, help="Log details too.")
def command(
    queues: tuple[str, ...],
    entity: str | None,
    max_jobs: int | None,
    path: Path | None,
    log_file: str | None,
    verbose: int,
) -> None:
    """Run an agent: poll queues, start their jobs, follow each to its end.

    A flag goes before the environment (WANDB_ENTITY, WANDB_LAUNCH_MAX_JOBS, …), which goes before the config
    file. The API key comes from WANDB_API_KEY, the file that the config names, or ~/.netrc. The first SIGTERM
    or SIGINT drains the agent, its runs go on; the second ends it at once.
    """
    from launch_agent.config import load
    from launch_agent.control import wiring

    flags = load.Flags(queues=queues, entity=entity, max_jobs=max_jobs, log_file=log_file, verbose=verbose)
    sys.exit(wiring.run(load.load(path, os.environ, flags)))
