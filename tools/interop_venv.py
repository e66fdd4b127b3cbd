"""Makes the virtual environment that holds the real `wandb` package for tests/interop, once, in a cache.

It is not the development environment: wandb pulls what this project does not want, and a job that runs in it
must not find our own package. The folder's name holds a hash of the locked requirements and of the Python
that makes it, so that a changed lock makes a new one beside the old. A marker file written last tells a
finished environment from one whose making was cut short; a lock file lets several processes ask at once.

    python tools/interop_venv.py            make it where it is missing; print its interpreter's path
    python tools/interop_venv.py --path     print the path without making anything
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_INTEROP = Path(__file__).resolve().parents[1] / "tests" / "interop"
LOCK = _INTEROP / "requirements.lock"
# The same with what the package's Kubernetes runner imports; only a benchmark pays for that.
KUBERNETES_LOCK = _INTEROP / "kubernetes.lock"

# Both are far above what a slow line needs; they exist so that a dead one ends with an error.
CREATE_TIMEOUT = 180
INSTALL_TIMEOUT = 1200

_MARKER = "complete"


def home(lock: Path = LOCK) -> Path:
    """The environment's folder, whether or not it is there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(lock.read_bytes())
    key.update(f"{sys.implementation.cache_tag} {sys.platform} {platform.machine()}".encode())
    return cache / "launch-agent" / f"interop-{key.hexdigest()[:16]}"


def interpreter(folder: Path) -> Path:
    return folder / "bin" / "python"


def is_complete(folder: Path) -> bool:
    """Whether the environment was made to the end, and the Python it was made from is still installed."""
    return (folder / _MARKER).is_file() and interpreter(folder).exists()


def make(folder: Path, lock: Path = LOCK) -> None:
    """Make the environment where it is missing. Raises subprocess.SubprocessError where pip or venv fails."""
    if is_complete(folder):
        return
    with _exclusive(folder.with_suffix(".lock")):
        if is_complete(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=CREATE_TIMEOUT)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        subprocess.run(
            [str(interpreter(folder)), *install, "--require-hashes", "--requirement", str(lock)],
            check=True,
            timeout=INSTALL_TIMEOUT,
        )
        (folder / _MARKER).touch()


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file; the system lets go of it when the process dies, so a stale one blocks nobody."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the virtual environment of tests/interop.")
    parser.add_argument("--path", action="store_true", help="print the interpreter's path and make nothing")
    arguments = parser.parse_args()
    folder = home()
    if not arguments.path:
        try:
            make(folder)
        except subprocess.SubprocessError as error:
            print(f"cannot make the interop environment in {folder}: {error}", file=sys.stderr)
            return 3
    print(interpreter(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
