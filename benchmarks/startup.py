"""How long a user waits for `--help`, and for the import of the command line, beside an empty interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.figures import Figure

ROUNDS = 15


def seconds(*command: str) -> float:
    """The median wall time of a command, after one unmeasured round that warms the disk's cache."""
    times = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=60)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def measure() -> Iterator[Figure]:
    """Wall times in milliseconds."""
    python = sys.executable
    cases = [
        ("interpreter", "an empty program", [python, "-c", ""]),
        ("import launch_agent.cli.main", "launch-agent", [python, "-c", "import launch_agent.cli.main"]),
        ("launch-agent --help", "launch-agent", [python, "-m", "launch_agent", "--help"]),
    ]
    for name, subject, command in cases:
        yield Figure(name=name, subject=subject, value=1000 * seconds(*command), unit="ms")
