"""How long `launch-agent lint` takes for many files, from the start of the process to its end.

    python benchmarks/lint_many.py [--files 200] [--rounds 5]

The files are the repository's example configs, copied round and round. The goal is 200 files in 2 s.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def measure(files: int, rounds: int) -> list[float]:
    """Seconds of each round."""
    sources = sorted(EXAMPLES.glob("*-configs/*.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        for number, source in zip(range(files), itertools.cycle(sources), strict=False):
            shutil.copyfile(source, Path(folder) / f"{number}-{source.name}")
        seconds = []
        for _ in range(rounds):
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "launch_agent", "lint", folder], check=True, capture_output=True
            )
            seconds.append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    seconds = measure(asked.files, asked.rounds)
    print(f"{asked.files} files: median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
