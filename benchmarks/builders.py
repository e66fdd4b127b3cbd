"""How long it takes from changed code to an image in the registry, with the packages known already.

The base image and the packages are tiny and the registry is on this machine: what is measured is the
builder, not the network.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from tests.builders.layers.test_builder import JOB, Site
from tests.fakes.registry import NoRegistry, registry

_NAME = "builders: changed code to pushed image"
_TIMES = 5
_GOAL = 2.0


def measure() -> Iterator[Figure]:
    try:
        with tempfile.TemporaryDirectory() as folder, registry(Path(folder, "registry")) as address:
            yield Figure(name=_NAME, subject="layers", value=_layers(address, folder), unit="s", goal=_GOAL)
    except NoRegistry as error:
        yield Figure(name=_NAME, subject="layers", value=None, unit="s", goal=_GOAL, note=str(error))


def _layers(address: str, folder: str) -> float:
    """The median of some builds, in seconds."""
    place = Path(folder, "site")
    place.mkdir()
    site = Site(address, place)
    site.build(site.context(JOB), [])
    took = []
    for number in range(_TIMES):
        context = site.context({**JOB, "train.py": f"print({number})\n"})
        began = time.perf_counter()
        site.build(context, [])
        took.append(time.perf_counter() - began)
    return statistics.median(took)
