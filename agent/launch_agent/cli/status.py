"""`launch-agent status`: queues and their counts, the items of a queue, or one item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from launch_agent.cli.backend import Backend, backend_options, echo_json, echo_table

if TYPE_CHECKING:
    from launch_agent.queues.submissions import Submission


@click.command("status")
@click.argument("queue", required=False)
@click.argument("item", required=False)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most items."
)
@backend_options
def command(queue: str | None, item: str | None, limit: int, backend: Backend) -> None:
    """Show all queues, the newest items of QUEUE, or one ITEM.

    An item's id alone will do, too: `launch-agent status ITEM`.
    """
    from launch_agent.cli.queue import echo_summaries
    from launch_agent.queues.catalogue import Catalogue
    from launch_agent.queues.registration import queues_of
    from launch_agent.queues.submissions import Submissions

    with backend.session() as session:
        submissions = Submissions(session)
        if queue is None:
            echo_summaries(Catalogue(session).summaries(), backend)
        elif item is not None:
            echo_item(submissions.find(item, queue), backend)
        elif queue in queues_of(session.graphql, session.entity):
            echo_items(submissions.recent(queue, limit), backend)
        else:
            echo_item(submissions.find(queue), backend)


def echo_items(items: list[Submission], backend: Backend) -> None:
    """Items as a table."""
    if backend.json:
        echo_json(items)
        return
    echo_table(
        ["ITEM", "STATE", "RUN", "PROJECT", "AUTHOR", "CREATED", "WHY"],
        [
            [
                item.id,
                item.state,
                item.run_id,
                item.project,
                item.author,
                item.created_at[:19],
                item.error.partition("\n")[0][:60],
            ]
            for item in items
        ],
    )


def echo_item(item: Submission, backend: Backend) -> None:
    """Everything that is known of one item."""
    if backend.json:
        echo_json(item)
        return
    run = "/".join(part for part in (item.run_entity, item.project, item.run_id) if part)
    rows = [
        ("item", item.id),
        ("queue", f"{item.entity}/{item.queue}"),
        ("state", item.state + (" (stop requested)" if item.stop_requested and not item.has_ended else "")),
        ("run", run if item.run_id else ""),
        ("run state", item.run_state),
        ("priority", "" if item.priority is None else str(item.priority)),
        ("author", item.author),
        ("agent", item.agent),
        ("created", item.created_at),
        ("claimed", item.claimed_at),
        ("ended", item.ended_at),
        ("error", item.error),
        *(("warning", warning) for warning in item.warnings),
    ]
    for name, value in rows:
        if value:
            click.echo(f"{name + ':':<11}{value}")
