"""An image for the real node that can fetch code as the agent's own does: this agent, Git, pip for jobs."""

from __future__ import annotations

import io
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import launch_agent
from launch_agent.images.rootfs import image_from_host
from tests.fakes import node_images
from tests.fakes.docker_engine import locked
from tests.fakes.real_node import Node

_PROGRAMS = ("sh", "git", "id", "ls", "cat", "sleep")
_SCRIPT = """\
#!/usr/bin/python3
import sys
sys.path.insert(0, "/opt/agent")
from launch_agent.cli.main import main
main()
"""
# What `launch-agent fetch` comes to import, of third parties.
_IMPORTED = """
import sys, launch_agent.cli.main, launch_agent.cli.fetch, launch_agent.clients.http
import launch_agent.images.job.code_folder, launch_agent.sources.order
print("\\n".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def agent_image(node: Node, name: str) -> str:
    """Put the image on the node under this name, where it is not there; returns the name."""
    with locked(node.folder / "images.lock"), tempfile.TemporaryDirectory() as scratch:
        if name not in node.ctr("images", "list", "--quiet").split():
            whole = node_images.archive(_layer(Path(scratch)), name, Path(scratch, "image.tar"))
            node.ctr("images", "import", str(whole))
    return name


def _layer(scratch: Path) -> Path:
    core = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()
    programs = [*_PROGRAMS, f"{core}/git-remote-https"]
    layer = image_from_host(scratch / "layer.tar", programs, python=True)
    installed = Path(sysconfig.get_path("purelib"))
    with tarfile.open(layer, "a") as tar:
        _add(tar, Path(launch_agent.__file__).parent, "opt/agent/launch_agent")
        for package in _third_parties(installed):
            _add(tar, package, f"opt/agent/{package.name}")
        # Where an interpreter that is in no virtual environment looks.
        own = subprocess.run(
            ["/usr/bin/env", getattr(sys, "_base_executable", sys.executable), "-c",
             "import site; print(site.getsitepackages()[0])"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        _add(tar, installed / "pip", f"{own.lstrip('/')}/pip")
        info = tarfile.TarInfo("usr/local/bin/launch-agent")
        info.mode, info.size = 0o755, len(_SCRIPT)
        tar.addfile(info, io.BytesIO(_SCRIPT.encode()))
    return layer


def _third_parties(installed: Path) -> Iterable[Path]:
    done = subprocess.run([sys.executable, "-c", _IMPORTED], check=True, capture_output=True, text=True)
    for name in done.stdout.split():
        for path in (installed / name, installed / f"{name}.py"):
            if path.exists() and name != "launch_agent":
                yield path


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    tar.add(path, name, filter=lambda info: None if "__pycache__" in info.name else info)
