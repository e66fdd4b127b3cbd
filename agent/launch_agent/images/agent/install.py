"""Installs the packages of an image within its build. Runs by itself, with nothing but Python.

An image's folder holds a copy of this file. It makes a virtual environment without pip, has pip put the
locked packages and the agent's own wheel there, leaves out what `prune.json` names, and compiles the rest.

    python3 install.py FOLDER VENV [--with-build]
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Where a build mounts the authority of an index.
_CA = "/build/ca.crt"


def main(arguments: Sequence[str]) -> int:
    """`FOLDER` holds requirements.txt, prune.json, sweep.py and wheels/."""
    folder, venv = Path(arguments[0]), Path(arguments[1])
    _run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    python = str(venv / "bin" / "python")
    pip = [python, _pip(folder / "wheels"), "install", "--no-deps", "--no-compile", "--ignore-installed"]
    pip += ["--disable-pip-version-check", "--no-cache-dir", "--root-user-action=ignore"]
    binary = [] if "--with-build" in arguments else ["--only-binary", ":all:"]
    wheels = ["--find-links", str(folder / "wheels")]
    locked = ["--require-hashes", "--requirement", str(folder / "requirements.txt")]
    _run([*pip, *binary, *wheels, *locked])
    own = sorted(map(str, (folder / "wheels").glob("launch_agent-*.whl")))
    _run([*pip, "--no-index", *own])
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    site = venv / "lib" / f"python{version}" / "site-packages"
    sweep = [sys.executable, str(folder / "sweep.py"), str(folder / "prune.json"), str(site)]
    _run(sweep)
    for file in site.glob("*.dist-info/direct_url.json"):
        file.unlink()
    for name in ("include", "share"):
        shutil.rmtree(venv / name, ignore_errors=True)
    # Some packages hold files for other versions of Python, which do not compile and are not used.
    compiling = ["-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", str(site)]
    _run([python, "-I", *compiling], check=False)
    return 0


def _run(command: Sequence[str], *, check: bool = True) -> None:
    out = None if check else subprocess.DEVNULL
    authority = {"PIP_CERT": _CA} if Path(_CA).exists() else {}
    subprocess.run(command, check=check, stdout=out, env={**os.environ, **authority})  # noqa: S603 - our own


def _pip(wheels: Path) -> str:
    """Where pip is: among the wheels, which are archives that Python runs, else the base's own."""
    if found := sorted(wheels.glob("pip-*.whl")):
        return f"{found[-1]}/pip"
    spec = importlib.util.find_spec("pip")
    if spec is None or spec.origin is None:
        sys.exit("the base image has no pip: name another, or put pip's wheel into the folder wheels/")
    return str(Path(spec.origin).parent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
