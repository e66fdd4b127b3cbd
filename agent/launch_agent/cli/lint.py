"""`launch-agent lint`: check launch configs, queue configs and values files before anything acts on them."""

from __future__ import annotations

import glob
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launch_agent.errors import ConfigError

if TYPE_CHECKING:
    from launch_agent.config.document import Document
    from launch_agent.config.finding import Finding

_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_STDIN = "-"


@click.command("lint")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--merge",
    is_flag=True,
    help="The files are values of one installation: each is laid over those before it, as by helm -f.",
)
@click.option(
    "--base",
    "bases",
    multiple=True,
    metavar="BASE",
    help="Lay each FILE over these values, as by helm -f BASE -f FILE. May be given several times.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "gitlab", "sarif"]),
    default="text",
    show_default=True,
    help="How findings are printed.",
)
@click.option("--strict", is_flag=True, help="Let warnings fail too.")
@click.option(
    "--kind",
    type=click.Choice(["auto", "launch-config", "queue-config", "chart-values"]),
    default="auto",
    show_default=True,
    help="What the files are; auto looks at their keys.",
)
def command(
    files: tuple[str, ...], merge: bool, bases: tuple[str, ...], form: str, strict: bool, kind: str
) -> None:
    """Check launch configs, queue configs and values files of the Helm chart.

    FILE is a file, a folder (its .yaml, .yml and .json files at any depth, as far as they are configs), a
    pattern such as 'conf/**/*.yaml', or - for standard input. The exit code is 0 where nothing is wrong, 1
    where something is (with --strict, warnings too), 2 where a file is missing or cannot be read.

    \b
    launch-agent lint values.yaml
    launch-agent lint --merge base.yaml cluster.yaml
    launch-agent lint --base base.yaml 'clusters/*.yaml'
    """
    from launch_agent.cli import report
    from launch_agent.config.finding import Severity

    if merge and bases:
        raise click.UsageError("--merge makes one of all files, --base one for each file: use one of them")
    if (merge or bases) and kind not in ("auto", "chart-values"):
        raise click.UsageError(f"values files are merged, and a {kind} is none")
    wanted = _expand(files)
    if merge:
        findings, unread = _one_installation(list(wanted))
    elif bases:
        findings, unread = _installations(list(_expand(bases)), wanted)
    else:
        findings, unread = _each(wanted, kind)
    if text := report.render(findings, form):
        click.echo(text)
    if findings and form == "text":
        click.echo(report.tally(findings), err=True)
    for problem in unread:
        click.echo(f"error: {problem}", err=True)
    fatal = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    fails = any(finding.severity in fatal for found in findings.values() for finding in found)
    sys.exit(2 if unread else int(fails))


Outcome = tuple[dict[str, list["Finding"]], list[ConfigError]]


def _each(files: dict[str, bool], kind: str) -> Outcome:
    """Each file by itself."""
    from launch_agent.config.judge import Kind, judge

    chosen = None if kind == "auto" else Kind(kind)
    findings, unread = {}, []
    for file, named in files.items():
        try:
            data = _data(file)
        except ConfigError as error:
            unread.append(error)
            continue
        findings[_name(file)] = judge(data, file=_name(file), kind=chosen, named=named)
    return findings, unread


def _one_installation(files: list[str]) -> Outcome:
    """All files as the layers of one set of values."""
    from launch_agent.config.judge import judge_merged

    layers, findings, unread = _layers(files)
    if not unread and not findings:
        findings = judge_merged(layers)
    return findings, unread


def _installations(bases: list[str], files: dict[str, bool]) -> Outcome:
    """Each file as the last layer over the bases. What is wrong with a base is said once."""
    from launch_agent.config.judge import Kind, judge_merged, kind_of, leave

    below, findings, unread = _layers(bases)
    if unread or findings:
        return findings, unread
    findings = {layer.file: [] for layer in below}
    for file, named in files.items():
        if file in bases:
            continue
        layers, broken, missing = _layers([file])
        unread += missing
        findings.update(broken)
        for layer in layers:
            if not named and kind_of(layer.value) not in (None, Kind.CHART_VALUES):
                findings[layer.file] = leave(layer)
                continue
            for owner, found in judge_merged([*below, layer]).items():
                known = findings.setdefault(owner, [])
                known += [finding for finding in found if finding not in known]
    for found in findings.values():
        found.sort(key=lambda finding: (finding.line, finding.column, finding.key))
    return findings, unread


def _layers(files: list[str]) -> tuple[list[Document], dict[str, list[Finding]], list[ConfigError]]:
    """The files as values; what is wrong with their YAML; the files that cannot be read at all."""
    from launch_agent.config.judge import layer, unreadable

    layers: list[Document] = []
    broken: dict[str, list[Finding]] = {}
    missing: list[ConfigError] = []
    for file in files:
        try:
            data = _data(file)
        except ConfigError as error:
            missing.append(error)
            continue
        try:
            layers.append(layer(data, file=_name(file)))
        except ConfigError as error:
            broken[_name(file)] = [unreadable(error)]
    return layers, broken, missing


def _name(file: str) -> str:
    return "<stdin>" if file == _STDIN else file


def _data(file: str) -> bytes:
    """Raises ConfigError for a file that is missing or may not be read."""
    from launch_agent.config.document import LARGEST
    from launch_agent.config.load import fetch

    return sys.stdin.buffer.read(LARGEST + 1) if file == _STDIN else fetch(Path(file))


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
