"""`launch-agent dockerfile`: what would be built for a job, and why, without building it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launch_agent.cli.backend import Backend, backend_options

if TYPE_CHECKING:
    from launch_agent.sources import Checkout
    from launch_agent.sources.git.access import Access
    from launch_agent.spec.build import BuildContext
    from launch_agent.spec.job import Job


@click.command("dockerfile")
@click.argument("source", metavar="SOURCE")
@click.option("-E", "--entry-point", metavar="COMMAND", help="What the image runs, as one text.")
@click.option("--ref", default="", help="Branch, tag or commit of a repository.")
@click.option("--submodules", is_flag=True, help="Fetch a repository's submodules too.")
@click.option("--build-context", metavar="FOLDER", help="Folder of the code that is built.")
@click.option("-D", "--dockerfile", default="", help="Dockerfile to use, below the build context.")
@click.option("--python", metavar="VERSION", help="Python version of the image, e.g. 3.12.")
@click.option("--base-image", default="", help="Image that the job's starts from, as a queue names it.")
@click.option("--platform", default="", help="Platform to build for, e.g. linux/arm64.")
@click.option("--build-arg", "arguments", multiple=True, metavar="NAME=VALUE", help="Argument of the build.")
@click.option("--buildkit", is_flag=True, help="Write for a builder that knows BuildKit's cache mounts.")
@backend_options
def command(
    source: str,
    backend: Backend,
    entry_point: str | None,
    ref: str,
    submodules: bool,
    build_context: str | None,
    dockerfile: str,
    python: str | None,
    base_image: str,
    platform: str,
    arguments: tuple[str, ...],
    buildkit: bool,
) -> None:
    """Print the Dockerfile that a job would be built by; why it is that one, and its tag, go to standard
    error.

    SOURCE is a folder, the address of a Git repository, or a job (entity/project/name:alias) of the backend.
    Nothing in a folder is changed.

    \b
    launch-agent dockerfile . -E "python train.py"
    launch-agent dockerfile https://github.com/team/code/tree/main/train
    launch-agent dockerfile team/project/job-train:latest --base-image nvidia/cuda:12.4.1-runtime-ubuntu22.04
    """
    from dataclasses import replace

    from launch_agent.cli.reading import pairs
    from launch_agent.images.job import Options, plan

    build_args = {name: str(value) for name, value in pairs(arguments, "--build-arg").items()}
    with tempfile.TemporaryDirectory(prefix="launch-agent-") as folder:
        job, found = _fetched(source, ref, submodules, backend, Path(folder))
        if found is None:
            click.echo(f"the job {job.name} is the ready image {job.image}: nothing is built", err=True)
            return
        job = replace(
            job,
            entry_point=_words(entry_point) if entry_point is not None else job.entry_point,
            build_context=job.build_context if build_context is None else build_context,
            runtime=python or job.runtime,
        )
        options = Options(
            dockerfile=dockerfile,
            base_image=base_image,
            platform=platform,
            build_args=build_args,
            has_mounts=buildkit,
        )
        context = plan(
            found.directory, job, options, revision=found.revision, origin=found.origin, write=False
        )
        _show(context, as_json=backend.json)


def _fetched(
    source: str, ref: str, submodules: bool, backend: Backend, into: Path
) -> tuple[Job, Checkout | None]:
    """The job that a source stands for, and its code; None where it is an image."""
    from launch_agent.errors import ConfigError, SourceError
    from launch_agent.sources import Checkout, git
    from launch_agent.sources.artifact.manifest import Name
    from launch_agent.sources.git.access import Access
    from launch_agent.spec.job import Job, SourceKind

    if Path(source).is_dir():
        job = Job(name=Path(source).resolve().name, kind=SourceKind.ARTIFACT)
        return job, Checkout(id="", directory=Path(source))
    if Path(source).exists():
        raise ConfigError(f"{source} is a file, not a folder", hint="name the folder that holds the code")
    access = Access(environment=os.environ)
    try:
        name = Name.parse(source)
    except SourceError:
        code = git.create(source, access=access, ref=ref, submodules=submodules)
        title = str(code.remote).rstrip("/").rpartition("/")[2].removesuffix(".git")
        return Job(name=title, kind=SourceKind.REPO), code.fetch(into)
    return _of_backend(str(name), backend, access, submodules, into)


def _of_backend(
    name: str, backend: Backend, access: Access, submodules: bool, into: Path
) -> tuple[Job, Checkout | None]:
    from launch_agent.clients.http import HttpClient, HttpSettings
    from launch_agent.config import key, load
    from launch_agent.sources import artifact
    from launch_agent.sources.of_job import source_of

    secret = key.find(
        backend.base_url, backend.api_key_file, None, dict(os.environ), load.home_of(os.environ)
    )
    http = HttpClient(HttpSettings(environment=os.environ))
    try:
        client = artifact.Backend(backend.base_url, secret, http)
        job = artifact.resolve(name, client)
        code = source_of(job, backend=client, access=access, submodules=submodules)
        return job, code.fetch(into) if code is not None else None
    finally:
        http.close()


def _words(text: str) -> tuple[str, ...]:
    """Raises ConfigError where the quotes do not close."""
    import shlex

    from launch_agent.errors import ConfigError

    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(
            f"--entry-point cannot be split into words: {error}", hint="close the quotes"
        ) from error


def _show(context: BuildContext, *, as_json: bool) -> None:
    text = context.text
    if as_json:
        told = {
            "dockerfile": text,
            "path": context.dockerfile,
            "generated": context.is_generated,
            "why": context.why,
            "tag": context.digest,
            "platform": context.platform,
            "build_args": dict(context.build_args),
            "labels": dict(context.labels),
        }
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"why: {context.why}", err=True)
    click.echo(f"tag: {context.digest}", err=True)
    click.echo(text, nl=not text.endswith("\n"))
