"""`launch-agent lint`: check launch configs and queue configs before anything acts on them."""

from __future__ import annotations

import glob
import sys
from pathlib import Path

import click

_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_STDIN = "-"


@click.command("lint")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    show_default=True,
    help="How findings are printed.",
)
@click.option("--strict", is_flag=True, help="Let warnings fail too.")
@click.option(
    "--kind",
    type=click.Choice(["auto", "launch-config", "queue-config"]),
    default="auto",
    show_default=True,
    help="What the files are; auto looks at their keys.",
)
def command(files: tuple[str, ...], form: str, strict: bool, kind: str) -> None:
    """Check launch configs and queue configs.

    FILE is a file, a folder (its .yaml, .yml and .json files at any depth, as far as they are configs), a
    pattern such as 'conf/**/*.yaml', or - for standard input. The exit code is 0 where nothing is wrong, 1
    where something is (with --strict, warnings too), 2 where a file is missing or cannot be read.
    """
    from launch_agent.cli import report
    from launch_agent.config.document import LARGEST
    from launch_agent.config.finding import Severity
    from launch_agent.config.judge import Kind, judge
    from launch_agent.config.load import fetch
    from launch_agent.errors import ConfigError

    chosen = None if kind == "auto" else Kind(kind)
    findings, unread = {}, []
    for file, named in _expand(files).items():
        stdin = file == _STDIN
        name = "<stdin>" if stdin else file
        try:
            data = sys.stdin.buffer.read(LARGEST + 1) if stdin else fetch(Path(file))
        except ConfigError as error:
            unread.append(error)
            continue
        findings[name] = judge(data, file=name, kind=chosen, named=named)
    if text := report.render(findings, form):
        click.echo(text)
    if findings and form == "text":
        click.echo(report.tally(findings), err=True)
    for problem in unread:
        click.echo(f"error: {problem}", err=True)
    fatal = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    fails = any(finding.severity in fatal for found in findings.values() for finding in found)
    sys.exit(2 if unread else int(fails))


def _expand(patterns: tuple[str, ...]) -> dict[str, bool]:
    """The files that the arguments mean, each once, in their order; false for what was found in a folder."""
    files: dict[str, bool] = {}
    for pattern in patterns:
        path = Path(pattern)
        if pattern == _STDIN or path.is_file():
            found, named = [pattern], True
        elif path.is_dir():
            found, named = _within(path), False
        else:
            # Path.glob takes no absolute pattern.
            found, named = sorted(glob.glob(pattern, recursive=True)), True  # noqa: PTH207
            found = [each for each in found if Path(each).is_file()]
            if not glob.has_magic(pattern):
                found = [pattern]  # reading it says why it cannot be read
            elif not found:
                raise click.UsageError(f"no file matches {pattern}")
        for file in found:
            files[file] = files.get(file, False) or named
    return files


def _within(folder: Path) -> list[str]:
    """The files of a folder that may be configs. Hidden folders hold other people's files."""
    found = sorted(
        str(path)
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not found:
        raise click.UsageError(f"the folder {folder} holds no .yaml, .yml or .json file")
    return found
