"""`launch-agent job`: make a job of code or an image, and list those of a project."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from launch_agent.cli.backend import Backend, backend_options, echo_json, echo_table

if TYPE_CHECKING:
    from launch_agent.queues.jobs import Published
    from launch_agent.queues.session import Session

_SENTENCES = {
    "created": "job {name} is created",
    "updated": "job {name} is a new version",
    "unchanged": "job {name} is there already: nothing has changed",
}
_project = click.option(
    "-p",
    "--project",
    metavar="PROJECT",
    envvar="WANDB_PROJECT",
    default="",
    help="Project that the job belongs to.  [default: WANDB_PROJECT]",
)


@click.group("job")
def command() -> None:
    """Make jobs of code or of an image, and list them."""


@command.command("create")
@click.argument("kind", type=click.Choice(["code", "git", "image"]))
@click.argument("place", metavar="PLACE")
@click.option("-n", "--name", default="", metavar="NAME", help="Name of the job.  [default: from PLACE]")
@_project
@click.option("-E", "--entry-point", default="", metavar="COMMAND", help="What the job runs, as one text.")
@click.option(
    "-r",
    "--runtime",
    default="",
    metavar="VERSION",
    help="Python version, such as 3.12.  [default: that of runtime.txt or .python-version, else this one]",
)
@click.option("-g", "--ref", "--git-hash", "ref", default="", help="Branch, tag or commit of a repository.")
@click.option("--submodules", is_flag=True, help="Fetch a repository's submodules too, at each launch.")
@click.option("-b", "--build-context", default="", metavar="FOLDER", help="Folder of the code that is built.")
@click.option("-D", "--dockerfile", default="", help="Dockerfile to use, below the build context.")
@click.option("-a", "--alias", "aliases", multiple=True, metavar="ALIAS", help="Further name; repeatable.")
@click.option("-d", "--description", default="", metavar="TEXT", help="What the job is for.")
@backend_options
def create(
    kind: str,
    place: str,
    project: str,
    aliases: tuple[str, ...],
    description: str,
    backend: Backend,
    **wanted: Any,
) -> None:
    """Make a job of a folder (code), a Git repository (git) or an image (image).

    PLACE is the folder, the address of the repository, or the image's reference. The same again is no new
    version; what has changed is the next. A branch is looked up now: the job names its commit.

    \b
    launch-agent job create code . -n train -p vision -E "python train.py"
    launch-agent job create git https://github.com/team/code/tree/main/train -p vision -E "python train.py"
    launch-agent job create image registry.example.com/team/train:1 -p vision
    """
    with backend.session() as session:
        published, note = publish(
            session, kind, place, project=project, aliases=aliases, description=description, **wanted
        )
    if backend.json:
        change = published.change.value
        echo_json({"job": published.name, "change": change, "aliases": published.aliases})
        return
    click.echo(_SENTENCES[published.change].format(name=published.name))
    if note:
        click.echo(f"  {note}", err=True)


@command.command("list")
@_project
@backend_options
def list_(project: str, backend: Backend) -> None:
    """List the jobs of a project, with their versions."""
    from launch_agent.queues.jobs import JobStore

    _check(project)
    with backend.session() as session:
        jobs = JobStore(session).jobs(project)
    if backend.json:
        echo_json(jobs)
    elif not jobs:
        click.echo("there is no job; `launch-agent job create` makes one")
    else:
        rows = [[job.name, f"v{job.version}", ", ".join(job.aliases), job.created_at] for job in jobs]
        echo_table(["JOB", "VERSION", "ALIASES", "CREATED"], rows)


def publish(
    session: Session,
    kind: str,
    place: str,
    *,
    project: str,
    aliases: tuple[str, ...] = (),
    description: str = "",
    **wanted: Any,
) -> tuple[Published, str]:
    """Make the job and put it on the backend; what to know of it. `wanted` are the fields of
    `job_code.Wanted`. Raises LaunchError."""
    from launch_agent.cli import job_code
    from launch_agent.queues.jobs import JobStore

    _check(project)
    made = job_code.of(kind, place, job_code.Wanted(environment=os.environ, **wanted))
    published = JobStore(session).publish(
        made.job,
        project=project,
        code=made.files,
        aliases=(*aliases, *made.aliases),
        description=description,
    )
    return published, made.note


def _check(project: str) -> None:
    if not project:
        raise click.UsageError("--project is missing: it says where jobs are kept")
