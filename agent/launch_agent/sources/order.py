"""An order to fetch a job's code elsewhere: the files that `launch-agent fetch` reads, written and read.

The code of a job that runs without a build is fetched where it runs, by a container that has the agent's own
program and nothing of its configuration. All that it needs comes as a handful of small files, which a Secret
holds: each is whole by itself, so that no credential stands beside what is none.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launch_agent.clients.http import HttpClient
from launch_agent.errors import SourceError
from launch_agent.sources import artifact
from launch_agent.sources.git.access import Access
from launch_agent.sources.git.handover import Handover
from launch_agent.sources.of_job import source_of
from launch_agent.spec.job import Job
from launch_agent.spec.secret import Secret

ORDER, API_KEY, LOGIN, SSH_KEY, KNOWN_HOSTS = "order.json", "api-key", "login", "ssh-key", "known-hosts"
_VERSION = 1
_FETCHED, _PRIVATE = ".fetching", 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`job` is the exact version that is meant, on the backend at `base_url`, which `api_key` opens.
    `submodules` and `timeout` are as for `source_of`; `git` opens the job's repository, where it has one."""

    job: str
    base_url: str
    api_key: Secret
    submodules: bool = False
    timeout: float = 900.0
    git: Handover = field(default_factory=Handover)


def write(order: Order) -> dict[str, Secret]:
    """The order's files by their names."""
    words = {
        "version": _VERSION,
        "job": order.job,
        "base-url": order.base_url,
        "submodules": order.submodules,
        "timeout": order.timeout,
        "host": order.git.host,
        "check-hosts": order.git.check_hosts,
    }
    files = {
        ORDER: Secret(json.dumps(words)),
        API_KEY: order.api_key,
        LOGIN: order.git.login,
        SSH_KEY: order.git.key,
        KNOWN_HOSTS: Secret(order.git.known_hosts),
    }
    return {name: text for name, text in files.items() if text}


def read(folder: Path) -> Order:
    """What `write` wrote into a folder. Raises SourceError."""
    try:
        words = json.loads(_text(folder, ORDER))
        if words["version"] != _VERSION:
            raise SourceError(
                f"the order in {folder} is of version {words['version']}, and this program knows {_VERSION}",
                hint="the image of runner.kubernetes.fetch-image has to be of the agent's own release",
            )
        return Order(
            job=str(words["job"]),
            base_url=str(words["base-url"]),
            api_key=Secret(_text(folder, API_KEY)),
            submodules=bool(words["submodules"]),
            timeout=float(words["timeout"]),
            git=Handover(
                login=Secret(_text(folder, LOGIN)),
                host=str(words["host"]),
                key=Secret(_text(folder, SSH_KEY)),
                known_hosts=_text(folder, KNOWN_HOSTS),
                check_hosts=bool(words["check-hosts"]),
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"the order in {folder} cannot be read: {error!r}") from error


def fetch(
    order: Order,
    into: Path,
    *,
    http: HttpClient,
    environment: Mapping[str, str],
    scratch: Path,
    stop: threading.Event,
) -> tuple[Job, Path]:
    """The job, and the folder below `into` that its code was fetched to. `scratch` is a private folder.

    What an earlier try left is removed. Raises SourceError and its kinds.
    """
    backend = artifact.Backend(order.base_url, order.api_key, http)
    job = artifact.resolve(order.job, backend, stop=stop)
    source = source_of(
        job,
        backend=backend,
        access=_access(order.git, environment, scratch),
        submodules=order.submodules,
        timeout=order.timeout,
        stop=stop,
    )
    if source is None:
        raise SourceError(f"the job {job.name} has no code")
    target = into / _FETCHED
    try:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        return job, source.fetch(target).directory
    except OSError as error:
        raise SourceError(f"fetching the code of {job.name}: {error.strerror or error}") from error


def _access(git: Handover, environment: Mapping[str, str], scratch: Path) -> Access:
    """Files of our own: ssh refuses a key that others may read, as those of a Secret can."""

    def file(name: str, text: str) -> Path | None:
        if not text:
            return None
        path = scratch / name
        path.touch(mode=_PRIVATE)
        path.write_text(text)
        return path

    key = file(SSH_KEY, git.key.reveal())
    return Access(
        environment=environment,
        credentials=file(LOGIN, git.login.reveal()),
        keys={git.host: key} if key is not None else {},
        known_hosts=file(KNOWN_HOSTS, git.known_hosts),
        check_hosts=git.check_hosts,
    )


def _text(folder: Path, name: str) -> str:
    """A file's text; empty where there is none."""
    try:
        return (folder / name).read_text()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SourceError(f"reading {name} of the order in {folder}: {error.strerror}") from error
