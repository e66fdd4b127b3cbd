"""Waits for a condition of the real world (a process, a socket, a thread) up to a deadline, without guessing.

A test that sleeps a fixed time is slow when the world is fast and flaky when it is slow. Where the code under
test has an event to wait on, wait on that; where it has none, poll with `eventually`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(probe: Callable[[], T], *, within: float = 10.0, every: float = 0.02, what: str = "") -> T:
    """Call `probe` until it returns something true, and return that.

    `within` and `every` are seconds. An AssertionError raised by `probe` counts as "not yet", so a probe may
    be a plain block of asserts that returns True; the last one is chained to the failure.
    """
    deadline = time.monotonic() + within
    while True:
        failure: AssertionError | None = None
        value: T | None = None
        try:
            value = probe()
        except AssertionError as error:
            failure = error
        if value:
            return value
        if time.monotonic() >= deadline:
            label = what or getattr(probe, "__name__", "condition")
            last = f"last: {failure}" if failure else f"last value {value!r}"
            raise AssertionError(f"{label}: not within {within:g} s; {last}") from failure
        time.sleep(every)
