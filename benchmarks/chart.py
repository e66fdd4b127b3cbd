"""How long Helm takes to render the chart, beside a chart of one object; and how large its templates are.

The peer shows what is Helm's own: starting, reading a chart, printing. W&B's chart is no peer here, since
nothing of it is at hand; a folder of it in PEER_CHART makes it one.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from tools import go_tools

CHART = Path(__file__).resolve().parents[1] / "charts" / "launch-agent"
ROUNDS = 15
# What both charts need at least; the text is what W&B's takes.
VALUES = "agent: {apiKey: key}\nlaunchConfig: |\n  queues: [gpu]\n"


def milliseconds(helm: Path, chart: Path) -> float:
    """The median wall time of `helm template`, after one unmeasured round that warms the disk's cache."""
    times = []
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.defpath, "HOME": home}
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            subprocess.run(
                [helm, "template", "gpu", chart, "-f", "-"], input=VALUES, text=True, env=environment,
                stdout=subprocess.DEVNULL, check=True, timeout=60,
            )  # fmt: skip
            times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[1:])


def one_object(folder: Path) -> Path:
    """A chart that renders one ConfigMap."""
    (folder / "templates").mkdir()
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: one\nversion: 1.0.0\n")
    (folder / "templates" / "one.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n"
    )
    return folder


def sizes() -> dict[str, int]:
    """Lines of each template, by its path."""
    files = [path for path in (CHART / "templates").rglob("*") if path.is_file()]
    return {
        str(path.relative_to(CHART)): len(path.read_text(encoding="utf-8").splitlines()) for path in files
    }


def measure() -> Iterator[Figure]:
    """Wall times in milliseconds, sizes in lines."""
    helm = go_tools.program(go_tools.TOOLS[0], go_tools.home())
    name = "helm template, few values"
    if helm.exists():
        with tempfile.TemporaryDirectory() as folder:
            least = milliseconds(helm, one_object(Path(folder)))
        yield Figure(name=name, subject="a chart of one object", value=least, unit="ms")
        goal = None
        if peer := os.environ.get("PEER_CHART"):
            value = milliseconds(helm, Path(peer))
            goal = 1.5 * value
            yield Figure(name=name, subject=Path(peer).name, value=value, unit="ms")
        value = milliseconds(helm, CHART)
        yield Figure(name=name, subject="launch-agent", value=value, unit="ms", goal=goal)
    else:
        yield Figure(name=name, subject="launch-agent", value=None, unit="ms", note="helm is not built")
    lines = sizes()
    largest = max(lines, key=lambda path: lines[path])
    yield Figure(name="templates", subject="launch-agent", value=sum(lines.values()), unit="lines")
    yield Figure(
        name="largest template",
        subject="launch-agent",
        value=lines[largest],
        unit="lines",
        goal=150,
        note=largest,
    )
