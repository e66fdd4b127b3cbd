"""The `launch-agent` command: finds the command, imports only its file, turns errors into exit codes.

Exit codes: 0 done, 1 findings or a failed run, 2 wrong usage or config, 3 the outside world (network,
credentials, cluster).
"""

from __future__ import annotations

import importlib
import sys

import click

from launch_agent import __version__
from launch_agent.errors import ConfigError, LaunchError

# name -> (module, one line for --help, shown without importing the module)
COMMANDS = {
    "start": ("start", "Run an agent that polls queues and starts jobs."),
    "lint": ("lint", "Check launch configs and queue configs before anything acts on them."),
    "doctor": ("doctor", "Check a config against the world, changing nothing."),
    "image": ("image", "Make, push and look into the slim image of the agent."),
    "permissions": ("permissions", "Print the rights that a config needs in its clouds, with reasons."),
    "dockerfile": ("dockerfile", "Print what would be built for a job, and why."),
    "fetch": ("fetch", "Put the code of a job into a folder, as an agent ordered it."),
    "server": ("server", "Run the embedded queue server."),
    "queue": ("queue", "Create, list, show, update and delete queues."),
    "job": ("job", "Make jobs of code or of an image, and list them."),
    "submit": ("submit", "Push a job to a queue."),
    "status": ("status", "Show where queue items are."),
    "stop": ("stop", "Ask for a queue item's run to be stopped."),
    "logs": ("logs", "Show what a run printed, or why it failed."),
    "demo": ("demo", "Watch a dozen jobs go from queues to containers, on this machine."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called: `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"launch_agent.cli.{COMMANDS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="launch-agent")
def cli() -> None:
    """Take jobs from launch queues and run them on Docker, Kubernetes, SageMaker or Vertex AI."""


def exit_code(error: LaunchError) -> int:
    """2 where the user's own words are wrong, 3 where the world is."""
    return 2 if isinstance(error, ConfigError) else 3


def main() -> None:
    """Entry point of the console script."""
    try:
        cli(standalone_mode=True)
    except LaunchError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(exit_code(error))
