"""`python -m benchmarks [NAME…]` measures, prints and stores: every file here with a function `measure`.

`measure() -> Iterable[Figure]` is all that a benchmark is. Each runs in a process of its own, so that one
that fails, or leaves memory behind, does not touch the next. The results go to `results/DATE.json` and `.md`,
with what they were measured on: figures of two machines cannot be compared.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Figure, as_json, table

HERE = Path(__file__).resolve().parent
LONGEST = 2700.0  # seconds for one benchmark
FAILED = "failed, see above"
_MARK = "figure: "


def found() -> list[str]:
    """The names of the benchmarks: the files that define `measure`."""
    files = sorted(HERE.glob("*.py"))
    return [file.stem for file in files if "\ndef measure(" in file.read_text(encoding="utf-8")]


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    try:
        described = ["git", "describe", "--always", "--dirty"]
        commit = subprocess.run(described, cwd=HERE, capture_output=True, text=True, timeout=10, check=True)
        version = commit.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        version = "unknown"  # no git, or no repository: an unpacked archive
    return {
        "commit": version,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def run(name: str) -> list[Figure]:
    """One benchmark in its own process; where it fails, a figure without a value follows what it got."""
    reason = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        try:
            subprocess.run(
                [sys.executable, "-m", "benchmarks", "--here", name],
                cwd=HERE.parent, stdout=lines, timeout=LONGEST, check=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            reason = "took too long"
        except subprocess.CalledProcessError:
            reason = FAILED
        lines.seek(0)
        # A benchmark may print; its figures are the lines that begin so.
        rows = [line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)]
    figures = [Figure(**json.loads(row)) for row in rows]
    if reason:
        figures.append(Figure(name=name, subject="launch-agent", value=None, unit="", note=reason))
    return figures


def store(measured: dict[str, list[Figure]], folder: Path, now: datetime) -> Path:
    """Write both files of the day; the path without its ending.

    A benchmark that was measured again replaces its own figures of that day; those of the others stay.
    """
    base = folder / now.strftime("%Y-%m-%d")
    folder.mkdir(parents=True, exist_ok=True)
    stored = base.with_suffix(".json")
    document = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {}
    for name, figures in measured.items():
        about = {"measured": now.isoformat(timespec="seconds"), **machine()}
        document[name] = {**about, "figures": as_json(figures)}
    document = dict(sorted(document.items()))
    stored.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    parts = [f"# {now:%Y-%m-%d}", *(_section(name, entry) for name, entry in document.items())]
    base.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return base


def _section(name: str, entry: dict[str, object]) -> str:
    """One benchmark: what it was measured on, and its table."""
    where = ", ".join(f"{key} {value}" for key, value in entry.items() if key != "figures")
    rows = entry["figures"]
    assert isinstance(rows, list)
    return f"## {name}\n\n{where}\n\n{table(Figure(**row) for row in rows)}"


def main() -> int:
    """0 where everything could be measured, whatever the figures say; 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, print and store.")
    parser.add_argument("names", nargs="*", help=f"which; all where none is named: {', '.join(found())}")
    parser.add_argument(
        "--here", action="store_true", help="measure in this process, print JSON, store nothing"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(found()):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(found())}")
    if options.here:
        for name in options.names:
            for figure in importlib.import_module(f"benchmarks.{name}").measure():
                print(f"{_MARK}{json.dumps(asdict(figure))}", flush=True)
        return 0
    measured: dict[str, list[Figure]] = {}
    for name in options.names or found():
        print(f"measuring {name}", file=sys.stderr)
        measured[name] = run(name)
        # At once: the next one may be interrupted.
        base = store({name: measured[name]}, HERE / "results", datetime.now(UTC))
    figures = [figure for of_one in measured.values() for figure in of_one]
    print(table(figures))
    print(f"stored as {base.relative_to(HERE.parent)}.json and .md", file=sys.stderr)
    return 0 if all(figure.note != FAILED for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
