"""`launch-agent server`: the embedded queue server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launch_agent.errors import ConfigError

if TYPE_CHECKING:
    from launch_agent.server.serve import Server


@click.command("server")
@click.option(
    "--database",
    metavar="URL",
    default="",
    help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; default: queue.db in the data folder.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of uploaded files and of the SQLite database; default: ~/.local/share/launch-agent/server.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0: a free one."
)
@click.option("-e", "--entity", default="launch", show_default=True, help="Entity of the admin key.")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the admin's API key; default: WANDB_API_KEY, else a key is made and shown once.",
)
@click.option(
    "--public-url", metavar="URL", default="", help="The server's address as clients see it, behind a proxy."
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning", hidden=True
)
def command(
    database: str,
    data_dir: Path | None,
    host: str,
    port: int,
    entity: str,
    api_key_file: Path | None,
    public_url: str,
    log_level: str,
) -> None:
    """Run a queue server of your own: queues, items, agents, runs and their files.

    It speaks the protocol of W&B Launch, so agents and the `wandb` package work with it unchanged. Its page
    is at the address that is printed. Ends on SIGINT or SIGTERM.
    """
    from launch_agent.server.serve import Server
    from launch_agent.telemetry import log

    log.setup(level=log_level)
    server = Server(
        data_dir=data_dir or default_data_dir(),
        database=database,
        host=host,
        port=port,
        entity=entity,
        api_key=_api_key(api_key_file),
        public_url=public_url,
    )
    server.serve(on_start=lambda: _greet(server))


def default_data_dir() -> Path:
    """Where a server keeps its data when nobody says where (XDG base directories)."""
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "launch-agent" / "server"


def _api_key(file: Path | None) -> str:
    if file is None:
        return os.environ.get("WANDB_API_KEY", "").strip()
    try:
        key = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"reading the API key: {error}", path="api-key-file", file=str(file)) from error
    if not key:
        raise ConfigError("the file holds no API key", path="api-key-file", file=str(file))
    return key


def _greet(server: Server) -> None:
    click.echo(f"Queue server at {server.url} (entity {server.entity}); its page is there, too.")
    if server.is_new_key:
        click.echo("")
        click.echo(f"  API key, shown this once: {server.api_key}")
        click.echo("")
        click.echo("Clients and agents find the server by")
        click.echo(f"  export WANDB_BASE_URL={server.url} WANDB_API_KEY=<the key>")
    if server.host not in ("127.0.0.1", "::1", "localhost"):
        click.echo(
            "warning: the server speaks plain HTTP; where others share the network, put a proxy with TLS"
            " before it",
            err=True,
        )
