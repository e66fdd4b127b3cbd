"""`launch-agent queue`: create, list, show, update and delete queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from launch_agent.cli.backend import Backend, backend_options, echo_json, echo_table

if TYPE_CHECKING:
    from launch_agent.queues.catalogue import QueueSettings

_RESOURCES = ["local-container", "local-process", "kubernetes", "sagemaker", "gcp-vertex", "vertex"]
_resource = click.option(
    "-r", "--resource", type=click.Choice(_RESOURCES), help="Target resource that its jobs run on."
)
_config = click.option(
    "-c", "--config", metavar="FILE", help="Queue configuration, YAML or JSON; - for standard input."
)
_variables = click.option(
    "--template-variables", metavar="FILE", help="Map of template variables to their JSON Schemas."
)


@click.group("queue")
def command() -> None:
    """Create, list, show, update and delete queues."""


@command.command("create")
@click.argument("name")
@_resource
@_config
@_variables
@click.option("--prioritize", is_flag=True, help="Let submitters rank jobs; else first in, first out.")
@backend_options
def create(
    name: str,
    resource: str | None,
    config: str | None,
    template_variables: str | None,
    prioritize: bool,
    backend: Backend,
) -> None:
    """Create the queue NAME."""
    from launch_agent.queues.catalogue import Catalogue, QueueSettings

    if resource is None:
        raise click.UsageError("--resource is missing: it says where the queue's jobs run")
    settings = QueueSettings(
        name=name,
        resource=resource,
        config=_read_config(config, resource) if config else {},
        prioritized=prioritize,
        template_variables=_read_variables(template_variables) if template_variables else {},
    )
    with backend.session() as session:
        Catalogue(session).create(settings)
        _done(backend, settings, f"queue {name} of {session.entity} is created")


@command.command("list")
@backend_options
def list_(backend: Backend) -> None:
    """List the queues of an entity."""
    from launch_agent.queues.catalogue import Catalogue

    with backend.session() as session:
        echo_summaries(Catalogue(session).summaries(), backend)


@command.command("show")
@click.argument("name")
@backend_options
def show(name: str, backend: Backend) -> None:
    """Show the settings of the queue NAME."""
    from launch_agent.queues.catalogue import Catalogue

    with backend.session() as session:
        settings = Catalogue(session).show(name)
    if backend.json:
        echo_json(settings)
        return
    import yaml

    click.echo(f"name: {settings.name}\nresource: {settings.resource}")
    click.echo(f"prioritized: {'yes' if settings.prioritized else 'no'}")
    for title, value in (
        ("configuration", settings.config),
        ("template variables", settings.template_variables),
    ):
        if value:
            body = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)
            click.echo(f"{title}:\n" + "".join(f"  {line}\n" for line in body.splitlines()), nl=False)


@command.command("update")
@click.argument("name")
@_resource
@_config
@_variables
@click.option("--prioritize/--no-prioritize", default=None, help="Let submitters rank jobs, or no longer.")
@backend_options
def update(
    name: str,
    resource: str | None,
    config: str | None,
    template_variables: str | None,
    prioritize: bool | None,
    backend: Backend,
) -> None:
    """Change settings of the queue NAME; what no option names stays as it is."""
    from dataclasses import replace

    from launch_agent.queues.catalogue import Catalogue

    with backend.session() as session:
        catalogue = Catalogue(session)
        settings = catalogue.show(name)
        if resource is not None and resource != settings.resource:
            settings = replace(settings, resource=resource, config={})
        if config:
            settings = replace(settings, config=_read_config(config, settings.resource))
        if template_variables:
            settings = replace(settings, template_variables=_read_variables(template_variables))
        if prioritize is not None:
            settings = replace(settings, prioritized=prioritize)
        catalogue.update(settings)
        _done(backend, settings, f"queue {name} of {session.entity} is changed")


@command.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@backend_options
def delete(name: str, yes: bool, backend: Backend) -> None:
    """Delete the queue NAME and every item that waits in it."""
    from launch_agent.queues.catalogue import Catalogue

    with backend.session() as session:
        question = f"Delete queue {name} of {session.entity}, with every item that waits in it?"
        if not yes:
            click.confirm(question, abort=True, err=True)
        Catalogue(session).delete(name)
        if backend.json:
            echo_json({"name": name, "deleted": True})
        else:
            click.echo(f"queue {name} of {session.entity} is deleted")


def echo_summaries(queues: list[Any], backend: Backend) -> None:
    """Queues as a table; the columns are those that the backend tells."""
    if backend.json:
        echo_json(queues)
        return
    if not queues:
        click.echo("there is no queue; `launch-agent queue create` makes one")
        return
    if not any(queue.counts for queue in queues):
        echo_table(["QUEUE"], [[queue.name] for queue in queues])
        return
    echo_table(
        ["QUEUE", "RESOURCE", "ORDER", "WAITING", "RUNNING", "FINISHED", "FAILED", "STOPPED", "AGENTS"],
        [
            [
                queue.name,
                queue.resource,
                "priority" if queue.prioritized else "fifo",
                queue.counts["pending"] + queue.counts["leased"],
                queue.counts["claimed"],
                queue.counts["finished"],
                queue.counts["failed"],
                queue.counts["stopped"] + queue.counts["preempted"],
                len(queue.agents),
            ]
            for queue in queues
        ],
    )


def _read_config(name: str, resource: str) -> Mapping[str, Any]:
    """The resource's own settings; the file may wrap them in `resource_args` and the resource's name."""
    from launch_agent.cli import reading
    from launch_agent.config import queue as queue_config

    value = reading.mapping(name, "a queue's configuration")
    if queue_config.is_wrapped(value):
        args = value.get("resource_args", value)
        others = sorted(set(args) - {resource})
        if others:
            raise click.UsageError(
                f"{name} has settings for {', '.join(others)}, the queue is for {resource}"
            )
        value = args.get(resource) or {}
    for finding in queue_config.findings({resource: value}):
        click.echo(f"warning: {finding.key}: {finding.message}", err=True)
    return value


def _read_variables(name: str) -> Mapping[str, Any]:
    from launch_agent.cli import reading

    found = reading.mapping(name, "template variables")
    return {
        variable: schema.get("schema", schema) if isinstance(schema, dict) else schema
        for variable, schema in found.items()
    }


def _done(backend: Backend, settings: QueueSettings, sentence: str) -> None:
    if backend.json:
        echo_json(settings)
    else:
        click.echo(sentence)
