"""`launch-agent image`: the slim image of the agent, made for one config.

    render      a folder with a Dockerfile and what it needs
    build       the image, by an engine or (daemonless) without
    push        an image on disk into a registry
    inspect     what is in an image

Each command's file is imported when it is called.
"""

from __future__ import annotations

import importlib
import importlib.util

import click

from launch_agent.errors import LaunchError

# name -> one line for --help; the module has the command's name
COMMANDS = {
    "render": "Write a folder with a Dockerfile for the image that a config needs.",
    "build": "Build the image that a config needs, by an engine or without.",
    "push": "Put an image on disk into a registry.",
    "inspect": "Show what is in an image, and what differs between two.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if importlib.util.find_spec("installer") is None:
            raise LaunchError(
                "`launch-agent image` needs packages that are not installed here",
                hint="pip install 'launch-agent[image]'",
            )
        found = importlib.import_module(f"launch_agent.cli.image.{cmd_name}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group("image", cls=_Commands)
def command() -> None:
    """Make, push and look into the slim image of the agent."""
