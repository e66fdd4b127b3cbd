"""How much the agent's image adds to its base, by what a config needs.

All files are counted that lie above the base, uncompressed: packages, the agent, byte code. In a pod the
cluster is reached without any package, so the images for clouds hold no Kubernetes client; who reads a
kubeconfig file has another row. `all` is everything that any config can need.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from launch_agent.assembly import fetching, wheels
from launch_agent.assembly.wheels import Target
from launch_agent.cli.image.places import cache_folder
from launch_agent.clients.oci.model import Platform
from launch_agent.images.agent import choose, wheel
from launch_agent.images.agent.choose import Choices
from launch_agent.images.agent.needs import Needs

PLATFORM = "linux/amd64"
_ALL = ("aws", "azure", "docker", "gcp", "image", "kubernetes")
# Extras, what is shown, and the goal in megabytes.
_IMAGES: tuple[tuple[str, tuple[str, ...], float | None], ...] = (
    ("kubernetes", (), 30),
    ("kubernetes + aws", ("aws",), 50),
    ("kubernetes + gcp", ("gcp",), 45),
    ("kubernetes + azure", ("azure",), 60),
    ("kubernetes, of a kubeconfig", ("kubernetes",), None),
    ("docker", ("docker",), None),
    ("all", _ALL, 120),
)
# The Python packages in the public image of W&B's agent, whatever its cluster does.
_UPSTREAM = 992.0


def measure() -> Iterator[Figure]:
    """The size of each image's packages, and of all of them without pruning."""
    name = "agent image: added to the base"
    with tempfile.TemporaryDirectory(prefix="launch-agent-bench-") as folder:
        own = wheel.write(Path(folder))
        for label, extras, goal in _IMAGES:
            size, packages = added(extras, own, Path(folder, label.replace(" ", "")))
            note = f"{packages} packages, byte-compiled"
            yield Figure(name=name, subject=label, value=round(size, 1), unit="MB", goal=goal, note=note)
        size, _ = added(_ALL, own, Path(folder, "whole"), pruned=False)
        yield Figure(
            name=name, subject="all, nothing left out", value=round(size, 1), unit="MB", note="for comparison"
        )
    yield Figure(
        name=name, subject="wandb/launch-agent", value=_UPSTREAM, unit="MB", note="packages; as published"
    )


def added(extras: tuple[str, ...], own: Path, folder: Path, *, pruned: bool = True) -> tuple[float, int]:
    """Megabytes (of a million bytes) that an image with these extras adds, and its number of packages."""
    plan = choose.make(Needs(name="bench"), Choices(extras=extras, platforms=(PLATFORM,)))
    target = Target(python=plan.python, platform=Platform.parse(PLATFORM))
    lines = [each.line() for each in plan.packages_for(PLATFORM)]
    source = fetching.Source(environment=os.environ)
    found = [each.path for each in fetching.fetch(lines, target, cache_folder() / "wheels", source)]
    site = folder / "site"
    site.mkdir(parents=True)
    wheels.unpack([*found, own], site, folder / "bin", interpreter=sys.executable)
    if pruned:
        plan.prune(site)
    wheels.compile_all(site, plan.site_packages, python=plan.python)
    size = sum(each.lstat().st_size for each in folder.rglob("*") if each.is_file())
    return size / 1e6, len(lines) + 1
