"""`launch-agent fetch`: put the code of a job into a folder, as an agent ordered it.

An agent runs this where the job runs: in an init container of a pod whose image does not hold the code. What
it prints last is what the run fails with.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import click


@click.command("fetch")
@click.argument("order", metavar="ORDER", type=click.Path(path_type=Path))
@click.argument("into", metavar="INTO", type=click.Path(path_type=Path))
def command(order: Path, into: Path) -> None:
    """Put the code of a job into INTO/job, for a run without a build; agents call this.

    ORDER is the folder with the agent's order: which job of which backend, and what opens both. Everybody may
    change the code afterwards: the user of the job's image is not known here.
    """
    from launch_agent.errors import LaunchError

    try:
        _fetch(order, into)
    except LaunchError as error:
        # In one line: it is all of this that the run's failure can show.
        hint = f" ({error.hint})" if error.hint else ""
        click.echo(f"error: {error.message}{hint}", err=True)
        sys.exit(3)


def _fetch(order: Path, into: Path) -> None:
    from launch_agent.clients.http import HttpClient, HttpSettings
    from launch_agent.images.job import code_folder
    from launch_agent.sources import order as orders

    stop = threading.Event()
    # The first process of a container is not ended by a signal that it does not handle.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wanted = orders.read(order)
    http = HttpClient(HttpSettings(environment=os.environ))
    try:
        with tempfile.TemporaryDirectory(prefix="launch-agent-") as scratch:
            job, folder = orders.fetch(
                wanted, into, http=http, environment=os.environ, scratch=Path(scratch), stop=stop
            )
    finally:
        http.close()
    code_folder.settle(folder, job, into)
    click.echo(f"the code of {job.name} is in {into / code_folder.NAME}")
