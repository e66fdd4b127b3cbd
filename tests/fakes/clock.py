"""A clock that stands still until a test moves it."""

from __future__ import annotations


class Clock:
    """Call it for the seconds since 1970; `forward` moves it."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds
