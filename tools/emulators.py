"""Gets the emulators of Google Cloud Storage and Azure Blob Storage for the tests, once, into a cache, and
BuildKit and kaniko (see `buildkit_tools`, `kaniko_tools`).

They stand apart from `go_tools`, whose folder is built anew when any of its programs changes. Each folder's
name holds a hash of its lock; each appears by a rename, and is whole or not there. What cannot be had here is
named with what is left out for want of it, and is no error.

    python -m tools.emulators
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tools import buildkit_tools, go_tools, kaniko_tools
from tools.go_tools import CannotBuild, Tool

GCS = Tool(
    name="fake-gcs-server",
    module="fake-gcs-server",
    package="github.com/fsouza/fake-gcs-server",
    versioned="github.com/fsouza/fake-gcs-server",
    without="tests of Google Cloud Storage",
)
_AZURITE = go_tools.HERE / "azurite"
_NPM_SECONDS = 600


def gcs_server() -> Path:
    """The program, whether or not it is there."""
    pins = b"".join((go_tools.HERE / GCS.module / name).read_bytes() for name in ("go.mod", "go.sum"))
    key = hashlib.sha256(pins + f"{GCS} {sys.platform} {platform.machine()}".encode()).hexdigest()[:16]
    return go_tools.program(GCS, go_tools.cache() / "tools" / f"fake-gcs-server-{key}")


def _azurite_home() -> Path:
    key = hashlib.sha256((_AZURITE / "package-lock.json").read_bytes()).hexdigest()[:16]
    return go_tools.cache() / "tools" / f"azurite-{key}"


def azurite() -> Path:
    """The blob server's script, for node, whether or not it is there."""
    return _azurite_home() / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _make_gcs() -> None:
    program = gcs_server()
    module = go_tools.HERE / GCS.module
    go_tools.build([GCS], module, program.parents[1], go_tools.find_go(go_tools.wanted_go([module])))


def _make_azurite() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise CannotBuild("npm is not installed")
    folder = _azurite_home()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".azurite-") as scratch:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_AZURITE / name, scratch)
        # No package's own scripts: what they would build is not used by the blob server.
        install = [npm, "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--silent"]
        try:
            subprocess.run(
                install, cwd=scratch, check=True, timeout=_NPM_SECONDS, capture_output=True, text=True
            )
        except subprocess.CalledProcessError as error:
            raise CannotBuild(f"npm failed: {(error.stderr or error.stdout).strip()[-300:]}") from error
        except subprocess.TimeoutExpired as error:
            raise CannotBuild(f"npm did not end within {_NPM_SECONDS} s") from error
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        # Node looks for packages in folders of this name only.
        Path(scratch, "node_modules").rename(folder / "node_modules")


EMULATORS: Mapping[str, tuple[Callable[[], Path], Callable[[], None], str]] = {
    "fake-gcs-server": (gcs_server, _make_gcs, "tests of Google Cloud Storage"),
    "azurite": (azurite, _make_azurite, "tests of Azure Blob Storage"),
}


def main() -> int:
    for name, (place, make, without) in EMULATORS.items():
        if place().exists():
            continue
        with go_tools.exclusive(go_tools.cache() / "tools" / f"{name}.lock"):
            if place().exists():
                continue
            began = time.monotonic()
            try:
                make()
            except CannotBuild as reason:
                print(f"left out: {without}: cannot get {name}: {reason}", flush=True)
            else:
                print(f"got {name} in {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main() or buildkit_tools.main() or kaniko_tools.main())
