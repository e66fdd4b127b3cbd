"""A measured figure, and the tables of figures that are kept in `results/`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number. `subject` is what was measured ("launch-agent", "wandb 0.31.0"): peers stand together.

    `value` None means that it could not be measured here; `note` then says why. `goal` is a bound that the
    value must not be above (or, with `more_is_better`, below); None where there is no goal.
    """

    name: str
    subject: str
    value: float | None
    unit: str
    goal: float | None = None
    more_is_better: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None where there is no goal or no value."""
        if self.goal is None or self.value is None:
            return None
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the one or more `values` do not exceed, by the nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def as_json(figures: Iterable[Figure]) -> list[dict[str, object]]:
    """Plain values, as they are stored; `Figure(**row)` reads one back."""
    return [asdict(figure) for figure in figures]


def table(figures: Iterable[Figure]) -> str:
    """A Markdown table, in the order of the figures."""
    rows = ["| figure | subject | value | goal | |", "|---|---|---:|---:|---|"]
    for figure in figures:
        value = "not measured" if figure.value is None else f"{figure.value:,.4g} {figure.unit}"
        sign = "≥" if figure.more_is_better else "≤"
        goal = "" if figure.goal is None else f"{sign} {figure.goal:,.4g} {figure.unit}"
        verdict = {True: "met", False: "missed", None: ""}[figure.met]
        remark = "; ".join(filter(None, [verdict, figure.note]))
        rows.append(f"| {figure.name} | {figure.subject} | {value} | {goal} | {remark} |")
    return "\n".join(rows)
