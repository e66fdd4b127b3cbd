"""`launch-agent logs`: what a run printed, or why an item failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from launch_agent.cli.backend import Backend, backend_options, echo_json

if TYPE_CHECKING:
    from launch_agent.queues.session import Session


@click.command("logs")
@click.argument("what", metavar="ITEM|RUN")
@click.option("-n", "--tail", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Lines.")
@click.option("-q", "--queue", metavar="QUEUE", default="", help="Queue of the item, where it must be known.")
@backend_options
def command(what: str, tail: int, queue: str, backend: Backend) -> None:
    """Show the end of what a run printed.

    A run is named by [ENTITY/]PROJECT/RUN, an item by its id. Of an item that failed, the reason and the log
    that its agent kept are shown. A run shows up here when it reports itself to the backend; what others
    print is in the hands of the target resource.
    """
    with backend.session() as session:
        result = _of_run(session, what, tail) if "/" in what else _of_item(session, what, queue, tail)
    if backend.json:
        echo_json(result)
        return
    for name in ("log", "error", "error_log"):
        if result.get(name):
            click.echo(("error: " if name == "error" else "") + result[name])
    if not any(result.get(name) for name in ("log", "error", "error_log")):
        click.echo("nothing is there to read", err=True)


def _of_run(session: Session, path: str, tail: int) -> dict[str, str]:
    from launch_agent.queues.runlogs import RunLogs

    *owner, project, run = path.split("/")
    if len(owner) > 1 or not project or not run:
        raise click.UsageError(f"{path!r} is not of the form [ENTITY/]PROJECT/RUN")
    entity = owner[0] if owner else session.entity
    return {"run": path, "log": RunLogs(session).of_run(entity, project, run, tail=tail)}


def _of_item(session: Session, item_id: str, queue: str, tail: int) -> dict[str, str]:
    from launch_agent.queues.runlogs import RunLogs
    from launch_agent.queues.submissions import Submissions

    item = Submissions(session).find(item_id, queue)
    logs = RunLogs(session)
    log = ""
    if item.run_id and item.project:
        log = logs.of_run(item.run_entity, item.project, item.run_id, tail=tail)
    failure = logs.of_failure(item, tail=tail)
    return {"item": item.id, "state": item.state, "log": log, "error": item.error, "error_log": failure}
