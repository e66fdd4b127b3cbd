"""`launch-agent submit`: push a job to a queue, and watch it to its end where that is wanted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from launch_agent.cli.backend import Backend, backend_options, echo_json

if TYPE_CHECKING:
    from launch_agent.queues.session import Session

# The numbers of the protocol; 0 leaves the queue first.
_PRIORITIES = {"critical": 0, "high": 1, "medium": 2, "low": 3}
_WORDS = [*_PRIORITIES, *map(str, _PRIORITIES.values())]


@click.command("submit")
@click.argument("args", nargs=-1)
@click.option("-q", "--queue", required=True, metavar="QUEUE", help="Queue to push to.")
@click.option("-d", "--image", metavar="IMAGE", help="Container image to run.")
@click.option("-j", "--job", metavar="JOB", help="Job artifact, entity/project/name:alias.")
@click.option("--code", metavar="DIR", help="Folder to make a job of, and run.")
@click.option("--git", metavar="URL", help="Git repository to make a job of, and run.")
@click.option("--ref", metavar="REF", help="Branch, tag or commit of the repository.")
@click.option("-s", "--spec", metavar="FILE", help="Whole run spec, YAML or JSON; - for standard input.")
@click.option(
    "-p",
    "--project",
    metavar="PROJECT",
    envvar="WANDB_PROJECT",
    help="Project of the run.  [default: WANDB_PROJECT, else that of the job]",
)
@click.option("--name", metavar="NAME", help="Display name of the run.")
@click.option("-P", "--priority", type=click.Choice(_WORDS), help="Rank, where the queue has priorities.")
@click.option("-E", "--entry-point", metavar="COMMAND", help="Command in place of the job's own.")
@click.option("--set-var", multiple=True, metavar="NAME=VALUE", help="Template variable; repeatable.")
@click.option("-R", "--resource-args", metavar="FILE", help="Settings over those of the queue.")
@click.option("-c", "--config", metavar="FILE", help="Run config: parameters of the run.")
@click.option("--watch", is_flag=True, help="Follow the job to its end.")
@backend_options
def command(
    args: tuple[str, ...],
    queue: str,
    spec: str | None,
    priority: str | None,
    set_var: tuple[str, ...],
    resource_args: str | None,
    watch: bool,
    backend: Backend,
    **given: str | None,
) -> None:
    """Push a job to a queue: a container image, a job, code, or a whole run spec.

    ARGS, after --, are the arguments of the job. With --watch the exit code is 0 where the job finished, 1
    where it failed or was stopped. --code and --git make a job first, as `launch-agent job create` does with
    its further options, and the entry point is the job's.
    """
    from launch_agent.cli import reading
    from launch_agent.queues.submissions import Submissions

    if sum(map(bool, (given["image"], given["job"], given["code"], given["git"], spec))) != 1:
        raise click.UsageError("give one of --image, --job, --code, --git and --spec")
    if given["ref"] and not given["git"]:
        raise click.UsageError("--ref goes with --git")
    whole = reading.mapping(spec, "a run spec") if spec else {}
    values = reading.pairs(set_var, "--set-var")
    with backend.session() as session:
        if given["code"] or given["git"]:
            given = _with_job(session, given)
        job = _spec(session, whole, args, given)
        if resource_args:
            job["resource_args"] = _resource_args(session, queue, resource_args)
        _check(job)
        submissions = Submissions(session)
        item_id = submissions.push(queue, job, priority=_rank(priority), template_values=values)
        if not watch:
            _told(backend, item_id, f"{session.entity}/{queue}")
            return
        from launch_agent.cli.watch import follow

        last = follow(lambda: submissions.find(item_id, queue), as_json=backend.json)
    sys.exit(0 if last.ended_well else 1)


def _with_job(session: Session, given: Mapping[str, str | None]) -> dict[str, str | None]:
    """The same with a job made of the code; what is the job's is not the run's any more."""
    from launch_agent.cli.job import publish

    published, _ = publish(
        session,
        "code" if given["code"] else "git",
        given["code"] or given["git"] or "",
        project=given["project"] or "",
        entry_point=given["entry_point"] or "",
        ref=given["ref"] or "",
    )
    click.echo(f"job {published.name}: {published.change}", err=True)
    return {**given, "job": published.name, "entry_point": None}


def _rank(priority: str | None) -> int | None:
    if priority is None:
        return None
    return _PRIORITIES[priority] if priority in _PRIORITIES else int(priority)


def _spec(
    session: Session, whole: Mapping[str, Any], args: tuple[str, ...], given: Mapping[str, str | None]
) -> dict[str, Any]:
    """The run spec: the file's, with what options say over it."""
    from launch_agent.cli import reading

    job = given["job"] or ""
    parts = job.split("/")
    spec: dict[str, Any] = {
        "entity": session.entity,
        "project": parts[-2] if len(parts) > 1 else "",
        "author": session.viewer.get("username") or "",
        **whole,
    }
    if given["project"]:
        spec["project"] = given["project"]
    if not spec["project"]:
        raise click.UsageError("--project is missing: it says where the run is recorded")
    if given["image"]:
        spec["docker"] = {"docker_image": given["image"]}
    if job:
        spec["job"] = job if len(parts) > 2 else f"{session.entity}/{spec['project']}/{parts[-1]}"
    if given["name"]:
        spec["name"] = given["name"]
    overrides = dict(spec.get("overrides") or {})
    if args:
        overrides["args"] = list(args)
    if given["entry_point"]:
        overrides["entry_point"] = shlex.split(given["entry_point"])
    if given["config"]:
        overrides["run_config"] = reading.mapping(given["config"], "a run config")
    spec["overrides"] = overrides
    return {name: value for name, value in spec.items() if value not in ("", {})}


def _resource_args(session: Session, queue: str, name: str) -> dict[str, Any]:
    """Settings by resource; a file without the resource's name is meant for that of the queue."""
    from launch_agent.cli import reading
    from launch_agent.config import queue as queue_config
    from launch_agent.queues.catalogue import Catalogue

    value = reading.mapping(name, "resource args")
    if queue_config.is_wrapped(value):
        inner = value.get("resource_args", value)
        return dict(inner)
    return {Catalogue(session).show(queue).resource: value}


def _check(spec: Mapping[str, Any]) -> None:
    """Refuse here what an agent would refuse after a wait. Raises ConfigError."""
    from launch_agent.config import schema

    schema.validate("run-spec", spec, file="run spec")


def _told(backend: Backend, item_id: str, queue: str) -> None:
    if backend.json:
        echo_json({"item": item_id, "queue": queue})
    else:
        click.echo(f"item {item_id} is in queue {queue}; `launch-agent status {item_id}` tells where it is")
