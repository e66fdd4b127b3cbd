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

    FILE is a file, a folder (its .yaml, .yml and .json files, at any depth), a pattern such as
    'conf/**/*.yaml', or - for standard input. The exit code is 0 where nothing is wrong, 1 where something is
    (with --strict, warnings too), 2 where a file is missing or cannot be read.
    """
    from launch_agent.cli import report
    from launch_agent.config.document import LARGEST
    from launch_agent.config.finding import Severity
    from launch_agent.config.judge import Kind, judge
    from launch_agent.config.load import fetch

    chosen = None if kind == "auto" else Kind(kind)
    findings = {}
    for file in _expand(files):
        stdin = file == _STDIN
        data = sys.stdin.buffer.read(LARGEST + 1) if stdin else fetch(Path(file))
        name = "<stdin>" if stdin else file
        findings[name] = judge(data, file=name, kind=chosen)
    text = report.render(findings, form)
    if text:
        click.echo(text)
    if form == "text":
        click.echo(report.tally(findings), err=True)
    fatal = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    if any(finding.severity in fatal for found in findings.values() for finding in found):
        sys.exit(1)


def _expand(patterns: tuple[str, ...]) -> list[str]:
    """The files that the arguments mean, each once, in their order."""
    files: dict[str, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if pattern == _STDIN or path.is_file():
            found = [pattern]
        elif path.is_dir():
            found = sorted(
                str(each) for each in path.rglob("*") if each.suffix in _SUFFIXES and each.is_file()
            )
            if not found:
                raise click.UsageError(f"the folder {pattern} holds no .yaml, .yml or .json file")
        else:
            found = sorted(each for each in glob.glob(pattern, recursive=True) if Path(each).is_file())  # noqa: PTH207 - Path.glob takes no absolute pattern
            if not found and not glob.has_magic(pattern):
                found = [pattern]  # reading it says why it cannot be read
            elif not found:
                raise click.UsageError(f"no file matches {pattern}")
        files.update(dict.fromkeys(found))
    return list(files)
