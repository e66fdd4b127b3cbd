"""How long the agent's image takes without a daemon, and what a change of its code sends.

The agent is the one for Kubernetes and AWS, for this machine's platform, on a base of this machine's own
Python; the registry is on this machine. The wheels have come before: what is measured is the building. The
first figure unpacks, prunes, compiles and packs all packages anew, the second finds that layer kept.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from launch_agent.cli.image.daemonless import Wish, build
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.model import Manifest
from launch_agent.clients.oci.repository import Repository
from launch_agent.images.agent import locks, prune
from launch_agent.images.agent.plan import Plan
from launch_agent.spec.image import ImageRef
from tests.fakes import image_parts
from tests.fakes.registry import NoRegistry, registry

_NEW = "daemonless: image with warm wheel cache"
_KEPT = "daemonless: image with the packages' layer kept"
_SENT = "daemonless: sent after a change of one module, at most"
_ALL = "daemonless: sent after a change of every module"
_SUBJECT = "launch-agent"
_EXTRAS = ("kubernetes", "aws")
_TIMES = 3
_SECONDS = 5.0
_MEGABYTE = 1.0
# A module of each of the layers that the agent's code is in.
_MODULES = ("runners/exits.py", "queues/wandb.py", "control/loop.py", "cli/start.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A plan, the agent's wheel, the cache, and the repository that images go to."""

    plan: Plan
    wheel: Path
    cache: Path
    repository: str

    def build(self, wheel: Path | None = None) -> tuple[str, float]:
        """The image's name, and the seconds that it took to be there."""
        began = time.perf_counter()
        name = build(self.plan, wheel or self.wheel, Wish(reference=f"{self.repository}:1", quiet=True))
        return name, time.perf_counter() - began


def measure() -> Iterator[Figure]:
    try:
        with _stand() as stand:
            yield from _measured(stand)
    except NoRegistry as error:
        yield Figure(name=_NEW, subject=_SUBJECT, value=None, unit="s", goal=_SECONDS, note=str(error))


@contextmanager
def _stand() -> Iterator[Stand]:
    with tempfile.TemporaryDirectory() as text, registry(Path(text, "registry")) as address:
        folder = Path(text)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        packages = locks.subset(_EXTRAS, image_parts.PYTHON, image_parts.OWN, omit=prune.packages(_EXTRAS))
        rules = prune.files(_EXTRAS, [*(each.name for each in packages), "launch-agent"])
        (folder / "wheel").mkdir()
        yield Stand(
            plan=image_parts.plan(
                str(image_parts.python_layout(folder)), packages, extras=_EXTRAS, pruning=rules
            ),
            wheel=image_parts.own_wheel(folder / "wheel"),
            cache=folder / "cache" / "launch-agent" / "images",
            repository=f"{address}/bench/agent",
        )


def _measured(stand: Stand) -> Iterator[Figure]:
    first, _ = stand.build()
    new, kept = [], []
    for _ in range(_TIMES):
        shutil.rmtree(stand.cache / "layers")
        name, seconds = stand.build()
        assert name == first, "equal inputs make equal images"
        new.append(seconds)
        kept.append(stand.build()[1])
    yield Figure(name=_NEW, subject=_SUBJECT, value=statistics.median(new), unit="s", goal=_SECONDS)
    yield Figure(name=_KEPT, subject=_SUBJECT, value=statistics.median(kept), unit="s")
    sent = [_sent(first, stand.build(_changed(stand.wheel, [each]))[0]) for each in _MODULES]
    yield Figure(name=_SENT, subject=_SUBJECT, value=max(sent) / 1e6, unit="MB", goal=_MEGABYTE)
    whole = _sent(first, stand.build(_changed(stand.wheel, []))[0])
    yield Figure(name=_ALL, subject=_SUBJECT, value=whole / 1e6, unit="MB")


def _changed(wheel: Path, modules: list[str]) -> Path:
    """The wheel with a line more in these modules; in all where none is named."""
    wanted = {f"launch_agent/{each}" for each in modules}
    made = Path(tempfile.mkdtemp(dir=wheel.parent), wheel.name)
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        assert wanted <= set(old.namelist())
        for item in old.infolist():
            content = old.read(item)
            if item.filename in wanted or (not wanted and item.filename.endswith(".py")):
                content += b"\nCHANGED = True\n"
            new.writestr(item, content)
    return made


def _sent(before: str, after: str) -> int:
    """The bytes of what the second image has and the first has not."""
    one, two = _manifest(before), _manifest(after)
    known = {layer.digest for layer in one.layers}
    return sum(each.size for each in (*two.layers, two.config, two.descriptor) if each.digest not in known)


def _manifest(name: str) -> Manifest:
    ref = ImageRef.parse(name)
    client = RegistryClient(ref.host)
    try:
        return Repository(client, ref.path).manifest(ref.digest)
    finally:
        client.close()
