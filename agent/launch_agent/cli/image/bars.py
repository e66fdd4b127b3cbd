"""How far an image is: bars where a person watches, a line for each step where not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str, int, int], object]]:
    """A function that is told what is done, how much of it, and of how much; safe from several threads. It
    writes to standard error."""
    if quiet:
        yield lambda what, done, total: None
    elif sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _Lines()


class _Lines:
    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, what: str, done: int, total: int) -> None:
        if done >= total and what not in self._told:
            self._told.add(what)
            click.echo(what, err=True)


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], object]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    tasks: dict[str, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=max(total, 1))
            shown.update(tasks[what], completed=done if total else 1, total=max(total, 1))

        yield report


def size(count: int) -> str:
    """Bytes as people read them: `11.3 MB`."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"
