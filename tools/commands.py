"""Writes docs/reference/commands.md from the commands' own `--help`, so that the page agrees with them.

`--check` writes nothing and ends with 1 where the page is not what it would be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from launch_agent.cli.main import cli

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "commands.md"
_WIDTH = 100
_HEAD = """\
# Commands

Made from `launch-agent --help` and the like by tools/commands.py; change it there. Exit codes, of all of
them: 0 done, 1 findings or a failed run, 2 wrong usage or config, 3 the outside world (network, credentials,
cluster).

`launch-agent start` takes the flags of `wandb launch-agent` (`-q`, `-e`, `-j`, `-c`, `-l`, `-v`), so that a
script that calls that one needs another program name and nothing else.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections(cli, "launch-agent", None)])


def _sections(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=_WIDTH)
    context.help_option_names = ["-h", "--help"]
    if parent is not None:
        yield f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            if found is not None and not found.hidden:
                yield from _sections(found, each, context)


def main(arguments: list[str]) -> int:
    text = page()
    if "--check" not in arguments:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE.name} is not what the commands say: run python -m tools.commands", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
