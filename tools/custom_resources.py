"""Fetches the definitions of the Prometheus operator's kinds, against which tests check our manifests.

They are files in the operator's Go module, so go.sum pins them as it pins the programs.

    python -m tools.custom_resources
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools import go_tools

MODULE = "github.com/prometheus-operator/prometheus-operator"
KINDS = ("podmonitors", "prometheusrules", "servicemonitors")

_PINS = go_tools.HERE / "prometheus-operator"
_SECONDS = 300


def home() -> Path:
    """The folder of the definitions, whether or not it is there."""
    pins = b"".join((_PINS / name).read_bytes() for name in ("go.mod", "go.sum"))
    return go_tools.cache() / "tools" / f"custom-resources-{hashlib.sha256(pins).hexdigest()[:16]}"


def fetch() -> None:
    """Put the definitions into their folder where they are missing. Raises CannotBuild."""
    folder = home()
    with go_tools.exclusive(folder.with_suffix(".lock")):
        if folder.exists():
            return
        go = go_tools.find_go(go_tools.wanted_go([_PINS]))
        # The module is data, whatever Go version it asks for.
        environment = {**os.environ, "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
        done = subprocess.run(
            [go, "mod", "download", "-json", MODULE], cwd=_PINS, env=environment,
            capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        told = json.loads(done.stdout) if done.stdout.startswith("{") else {"Error": done.stderr.strip()}
        if error := told.get("Error"):
            raise go_tools.CannotBuild(error)
        unfinished = folder.with_name(f".{folder.name}-{os.getpid()}")
        unfinished.mkdir(parents=True)
        for kind in KINDS:
            name = f"monitoring.coreos.com_{kind}.yaml"
            shutil.copyfile(Path(told["Dir"], "example", "prometheus-operator-crd", name), unfinished / name)
        unfinished.rename(folder)


def main() -> int:
    """0 whether or not they could be had; what is left out is said."""
    try:
        fetch()
    except (go_tools.CannotBuild, subprocess.SubprocessError) as reason:
        print(f"left out: tests against a real Kubernetes API server: no custom resources: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
