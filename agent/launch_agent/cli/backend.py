"""The options by which commands find a queue backend, and the session that they open with them.

No option takes the API key itself: a command line is seen by every user of the machine.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from launch_agent.queues.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where the backend is and who asks, as options and environment say. `json` asks for JSON output."""

    base_url: str
    entity: str
    api_key_file: str
    json: bool

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Raises ConfigError where there is no API key; a bad key shows with the first request."""
        from launch_agent.clients.http import HttpSettings
        from launch_agent.config import key, load
        from launch_agent.queues.session import Session

        env = dict(os.environ)
        if self.api_key_file:
            env.pop("WANDB_API_KEY", None)  # an option goes before the environment
        secret = key.find(self.base_url, self.api_key_file, None, env, load.home_of(env))
        session = Session(
            self.base_url, secret, entity=self.entity, settings=HttpSettings(environment=os.environ)
        )
        try:
            yield session
        finally:
            session.close()


def backend_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a backend; they reach it as its argument `backend`."""

    @click.option(
        "--base-url",
        metavar="URL",
        envvar="WANDB_BASE_URL",
        help="Address of the queue backend.  [default: WANDB_BASE_URL, else the public one]",
    )
    @click.option(
        "-e",
        "--entity",
        metavar="ENTITY",
        envvar="WANDB_ENTITY",
        default="",
        help="Owner of the queue.  [default: WANDB_ENTITY, else the key's own]",
    )
    @click.option(
        "--api-key-file",
        metavar="PATH",
        default="",
        help="File with the API key.  [default: WANDB_API_KEY, else ~/.netrc]",
    )
    @click.option(
        "--format",
        "form",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How the result is printed.",
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any, base_url: str | None, entity: str, api_key_file: str, form: str, **rest: Any
    ) -> None:
        from launch_agent.config import schema

        default = schema.load("launch-config")["properties"]["base_url"]["default"]
        backend = Backend(
            base_url=(base_url or default).rstrip("/"),
            entity=entity,
            api_key_file=api_key_file,
            json=form == "json",
        )
        command(*args, backend=backend, **rest)

    return wrapped


def echo_json(value: Any) -> None:
    """Print a value of dataclasses, maps and lists as JSON."""
    from dataclasses import asdict, is_dataclass

    def plain(other: Any) -> Any:
        if is_dataclass(other) and not isinstance(other, type):
            return asdict(other)
        return dict(other)

    click.echo(json.dumps(value, indent=2, default=plain))


def echo_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns that are as wide as they need to be; empty cells show as a dash."""
    cells = [[str(cell) if cell not in ("", None) else "-" for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(head), *cells]) for column in range(len(head))]
    for row in [list(head), *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
