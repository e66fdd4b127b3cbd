"""`launch-agent permissions`: which rights a config needs in its clouds, as documents to hand over."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

_RESOURCES = ("kubernetes", "sagemaker", "vertex")
# A config is not read for its key, and must have one.
_NO_KEY = "0" * 40


@click.command("permissions")
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Config file.  [default: ~/.config/wandb/launch-config.yaml]",
)
@click.option(
    "--queue-config",
    "files",
    multiple=True,
    metavar="FILE",
    help="Configuration of a queue that the agent serves; repeatable. It names roles, buckets and keys.",
)
@click.option(
    "--resource",
    "resources",
    multiple=True,
    type=click.Choice(_RESOURCES),
    help="Target resource of a queue whose configuration is not at hand; repeatable.",
)
@click.option(
    "--cloud",
    type=click.Choice(["aws", "gcp", "azure", "kubernetes"]),
    help="Show the documents of one cloud.",
)
@click.option("--document", "name", metavar="NAME", help="Print one document and nothing else, as JSON.")
@click.option("--namespace", metavar="NAME", help="Namespace of the agent's pod.")
@click.option("--service-account", "account", metavar="NAME", help="Service account of the agent's pod.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True
)
def command(
    path: Path | None,
    files: tuple[str, ...],
    resources: tuple[str, ...],
    cloud: str | None,
    name: str | None,
    namespace: str | None,
    account: str | None,
    form: str,
) -> None:
    """Print exactly the rights that an agent of this config needs, each with its reason: policies for AWS,
    roles for Google Cloud, role assignments for Azure, and by which of these a cloud trusts the agent's pod.

    Rights that the documents of W&B Launch list carry the number of their requirement; those that they lack
    are marked as ours. Nothing is asked of any cloud: what the config does not say stays a placeholder, such
    as <ACCOUNT-ID>.
    """
    import yaml

    from launch_agent.cli import reading
    from launch_agent.config import load
    from launch_agent.errors import ConfigError
    from launch_agent.permissions import identity, report

    environment = {"WANDB_API_KEY": _NO_KEY, **os.environ}
    config = load.load(path, environment, load.Flags(queues=("any",)))
    given = {"namespace": namespace, "account": account}
    pod = identity.Pod(**{key: value for key, value in given.items() if value})
    queues = [(file, reading.mapping(file, "a queue's configuration")) for file in files]
    told = report.Told(resources=resources, queues=queues)
    found = report.documents(report.needs_of(config, told), pod)
    if cloud:
        found = [document for document in found if document.cloud == cloud]
    if name:
        bodies = [each.body for each in found if name in (each.name, f"{each.cloud.value}/{each.name}")]
        if len(bodies) != 1:
            known = ", ".join(f"{each.cloud.value}/{each.name}" for each in found) or "there are none"
            what = "several documents are" if bodies else "no document is"
            raise ConfigError(f"{what} named {name!r}", hint=f"the names are: {known}")
        click.echo(json.dumps(bodies[0], indent=2))
    elif form == "json":
        click.echo(json.dumps(report.data(found), indent=2))
    elif form == "yaml":
        click.echo(yaml.safe_dump(report.data(found), sort_keys=False, width=100), nl=False)
    elif found:
        click.echo("\n".join(report.text(found)), nl=False)
    else:
        click.echo("This config needs no rights in any cloud, as far as is known of its queues.")
