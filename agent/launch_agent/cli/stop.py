"""`launch-agent stop`: take an item off its queue, or ask its run to stop."""

from __future__ import annotations

import click

from launch_agent.cli.backend import Backend, backend_options, echo_json


@click.command("stop")
@click.argument("item")
@click.option("-q", "--queue", metavar="QUEUE", default="", help="Queue of the item, where it must be known.")
@backend_options
def command(item: str, queue: str, backend: Backend) -> None:
    """Stop ITEM: one that waits leaves its queue, of one that runs the run is asked to stop."""
    from launch_agent.queues.submissions import Submissions

    with backend.session() as session:
        submissions = Submissions(session)
        found = submissions.find(item, queue)
        if not found.has_ended:
            submissions.stop(found)
    if backend.json:
        echo_json({"item": found.id, "stop_requested": not found.has_ended})
    elif found.has_ended:
        click.echo(f"item {found.id} has ended already: {found.state}")
    elif found.run_id:
        click.echo(f"run {found.run_id} of item {found.id} is asked to stop")
    else:
        click.echo(f"item {found.id} will not run")
