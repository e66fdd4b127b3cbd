"""Follows one item to its end: a live table on a terminal, one line for each change elsewhere.

A backend that cannot be reached for a while is no end: the job goes on without us, so we ask again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

import click

from launch_agent.cli.backend import echo_json
from launch_agent.errors import QueueUnavailable

if TYPE_CHECKING:
    from launch_agent.queues.submissions import Submission

_INTERVAL = 1.0


class Display(Protocol):
    """Shows where an item is. `trouble` is why the newest state could not be asked for."""

    def show(self, item: Submission, seconds: float, trouble: str) -> None: ...


def follow(
    find: Callable[[], Submission],
    *,
    as_json: bool,
    terminal: bool | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Submission:
    """Ask until the item has ended; its last state. `terminal` None looks at standard output."""
    terminal = sys.stdout.isatty() if terminal is None else terminal
    start = clock()
    last: Submission | None = None
    with _display(as_json=as_json, terminal=terminal) as display:
        while True:
            trouble, pause = "", _INTERVAL
            try:
                last = find()
            except QueueUnavailable as error:
                trouble, pause = error.message, max(_INTERVAL, error.retry_after)
            if last is not None:
                display.show(last, clock() - start, trouble)
                if last.has_ended:
                    return last
            sleep(pause)


def _display(*, as_json: bool, terminal: bool) -> AbstractContextManager[Display]:
    if as_json:
        return nullcontext(Json())
    return Table() if terminal else nullcontext(Lines())


class Lines:
    """A line whenever something is new."""

    def __init__(self) -> None:
        self._shown: tuple[str, ...] = ()

    def show(self, item: Submission, seconds: float, trouble: str) -> None:
        news = (item.state, item.run_id, item.run_state, trouble, *item.warnings)
        if news == self._shown:
            return
        self._shown = news
        parts = [f"{seconds:7.1f} s  item {item.id}  {describe(item)}"]
        parts += [f"{'':9}  warning: {warning}" for warning in item.warnings]
        parts += [f"{'':9}  error: {item.error}"] if item.error else []
        parts += [f"{'':9}  no news: {trouble}"] if trouble else []
        click.echo("\n".join(parts))


class Json:
    """The whole item as JSON, once it has ended."""

    def show(self, item: Submission, seconds: float, trouble: str) -> None:
        if item.has_ended:
            echo_json(item)


class Table:
    """A table that is drawn anew; entered while it is on the screen."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(file=sys.stdout), auto_refresh=False, transient=False)

    def __enter__(self) -> Table:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, item: Submission, seconds: float, trouble: str) -> None:
        from rich.table import Table as RichTable
        from rich.text import Text

        color = {"FINISHED": "green", "FAILED": "red", "STOPPED": "yellow", "PREEMPTED": "yellow"}
        table = RichTable("item", "queue", "state", "run", "agent", "seconds")
        state = Text(describe(item), style=color.get(item.state, "cyan"))
        table.add_row(item.id, item.queue, state, item.run_id or "-", item.agent or "-", f"{seconds:.0f}")
        notes = [f"warning: {warning}" for warning in item.warnings]
        notes += [f"error: {item.error}"] if item.error else []
        notes += [f"no news: {trouble}"] if trouble else []
        table.caption = Text("\n".join(notes)) if notes else None
        self._live.update(table, refresh=True)


def describe(item: Submission) -> str:
    """The state in a submitter's words."""
    words = {
        "PENDING": "waits in the queue",
        "LEASED": "is handed to an agent",
        "CLAIMED": f"is taken by agent {item.agent}" if item.agent else "is taken by an agent",
    }
    text = words.get(item.state, item.state.lower())
    if item.state == "CLAIMED" and item.run_state not in ("", "pending"):
        text = item.run_state
    return f"{text}, a stop is requested" if item.stop_requested and not item.has_ended else text
