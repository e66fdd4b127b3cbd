"""Shows the demo: a live table on a terminal, a line for each change elsewhere, a summary at the end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from launch_agent.cli.demo.jobs import Act, Job

Update = Callable[[Sequence[Act]], None]
_PRIORITIES = ("critical", "high", "medium", "low")
_COLOURS = {"FINISHED": "green", "FAILED": "red", "STOPPED": "yellow", "CLAIMED": "cyan"}


@contextmanager
def show(jobs: Sequence[Job], *, live: bool) -> Iterator[Update]:
    """Hands back a function that is called with the acts whenever they may have changed."""
    if not live:
        yield _lines()
        return
    from rich.live import Live

    with Live(_table([Act(job=job) for job in jobs]), refresh_per_second=8) as display:
        yield lambda acts: display.update(_table(acts))


def summary(acts: Sequence[Act], folder: Path) -> tuple[str, bool]:
    """The closing text, and whether every job ended as it must."""
    rows = [("JOB", "QUEUE", "PRIORITY", "END", "QUEUED TO STARTED", "")]
    for act in acts:
        mark = "as it must" if act.is_as_it_must else f"WRONG: it must be {act.job.ends}"
        wait = f"{act.started - act.created:.2f} s" if act.started else "not started"
        rows.append(
            (act.job.name, act.job.queue, _priority(act.job), act.state or "not submitted", wait, mark)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    good = all(act.is_as_it_must for act in acts)
    # Those that were there before the agent waited for it to come, which says nothing of the agent; nor do
    # those that waited for their image.
    waits = sorted(
        act.started - act.created
        for act in acts
        if act.started and act.job.submitted_at >= 0 and not act.job.is_built
    )
    if waits:
        lines += [
            "",
            f"from queue to start, agent idle: median {statistics.median(waits):.2f} s, "
            f"slowest {waits[-1]:.2f} s ({len(waits)} jobs)",
        ]
    lines += [
        "",
        f"agent's log        {folder / 'agent.log'}",
        f"logs of failures   {folder / 'server' / 'files'}",
    ]
    runs = folder / "state" / "runs"
    if runs.is_dir():
        lines.append(f"output of runs     {runs}")
    lines += ["", "every job ended as it must" if good else "NOT every job ended as it must"]
    return "\n".join(lines), good


def _lines() -> Update:
    """Prints a line for each job whose state has changed."""
    seen: dict[str, tuple[str, bool]] = {}
    began = time.monotonic()

    def update(acts: Sequence[Act]) -> None:
        for act in acts:
            now = (act.state, bool(act.started))
            if act.state and seen.get(act.job.name) != now:
                seen[act.job.name] = now
                clock = time.monotonic() - began
                click.echo(f"{clock:5.1f} s  {act.job.name:<15} {_word(act):<9} {_note(act)}".rstrip())

    return update


def _table(acts: Sequence[Act]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("job", "queue", "priority", "state", "queued to started", ""):
        table.add_column(column, no_wrap=column != "")
    for act in acts:
        colour = _COLOURS.get(act.state, "dim")
        wait = f"{act.started - act.created:.2f} s" if act.started else ""
        table.add_row(
            act.job.name, act.job.queue, _priority(act.job), f"[{colour}]{_word(act)}[/]", wait, _note(act)
        )
    return table


def _word(act: Act) -> str:
    """The state in a reader's words: an item that is claimed is about to run, or runs."""
    if act.state == "CLAIMED":
        before = "building" if act.job.is_built else "starting"
        return "running" if act.started else before
    return act.state.lower() or "-"


def _note(act: Act) -> str:
    if act.message:
        return act.message.partition("\n")[0][:100]
    return "stop asked for" if act.stop_sent and not act.has_ended else ""


def _priority(job: Job) -> str:
    return "" if job.priority is None else _PRIORITIES[job.priority]
