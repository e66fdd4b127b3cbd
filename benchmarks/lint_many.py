"""How long `launch-agent lint` takes for many files, from the start of the process to its end.

The files are the repository's examples, copied round and round: what a platform team's repository looks like
to its CI.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MANY = EXAMPLES / "values" / "many-clusters"
ROUNDS = 5


def seconds(number: int, sources: Sequence[Path], *arguments: str | Path) -> float:
    """The median wall time for that number of files, after one round that warms the disk's cache."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for count, source in zip(range(number), itertools.cycle(sources), strict=False):
            shutil.copyfile(source, Path(folder) / f"{count}-{source.name}")
        command = [sys.executable, "-m", "launch_agent", "lint", "--strict", *arguments, folder]
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=300
            )
            times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def measure() -> Iterator[Figure]:
    """Wall times in seconds."""
    clusters = [*sorted(MANY.glob("*-1.yaml")), MANY / "lab.yaml"]
    configs = sorted(EXAMPLES.glob("*-configs/*.yaml"))
    values = sorted((EXAMPLES / "values").glob("*.yaml"))
    cases: list[tuple[str, int, float, Sequence[Path], list[str | Path]]] = [
        ("lint 200 configs", 200, 2, configs, []),
        ("lint 1,000 values files", 1000, 10, values, []),
        ("lint 1,000 clusters over a base", 1000, 10, clusters, ["--base", MANY / "base.yaml"]),
    ]
    for name, number, goal, sources, arguments in cases:
        value = seconds(number, sources, *arguments)
        yield Figure(name=name, subject="launch-agent", value=value, unit="s", goal=goal)
