"""Writes the Go module from which a version of Kubernetes is built.

`k8s.io/kubernetes` cannot be required like another module: its own go.mod points at folders of its source
tree (`./staging/src/k8s.io/...`), and replacements count only in the module that is built. So ours repeats
them, each with the version that the same code is published as: 1.37.2 -> v0.37.2.

    python -m tools.kubernetes_module 1.37.2                the module that is committed, tools/kubernetes
    python -m tools.kubernetes_module 1.34.4 --folder DIR   another one
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "kubernetes"
COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")

# Both ask the module proxy; the second reads the go.mod of some hundred modules.
_DOWNLOAD_SECONDS = 600
_STAGED = re.compile(r"^\s*(?:replace\s+)?(k8s\.io/\S+) => \./staging/src/", re.MULTILINE)
_MINOR = re.compile(r"^1\.(\d+)\.(\d+)$")


def text(version: str, upstream: str) -> str:
    """The go.mod that builds a Kubernetes version, made of the one that it has upstream.

    Raises ValueError where the version is not of the form 1.MINOR.PATCH.
    """
    found = _MINOR.match(version)
    if found is None:
        raise ValueError(f"{version!r} is not a version of Kubernetes such as 1.37.2")
    staged = [name for name in _STAGED.findall(upstream) if not name.startswith("k8s.io/sample-")]
    go = re.search(r"^go (\S+)$", upstream, re.MULTILINE)
    debug = re.search(r"^godebug default=(\S+)$", upstream, re.MULTILINE)
    lines = ["module launch-agent/tools/kubernetes", "", f"go {go[1] if go else '1.24.0'}", ""]
    if debug:
        lines += [f"godebug default={debug[1]}", ""]
    lines += ["tool (", *(f"\tk8s.io/kubernetes/cmd/{command}" for command in COMMANDS), ")", ""]
    lines += [f"require k8s.io/kubernetes v{version}", "", "replace ("]
    lines += [f"\t{name} => {name} v0.{found[1]}.{found[2]}" for name in staged]
    return "\n".join([*lines, ")", ""])


def write(version: str, folder: Path, go: Sequence[str] = ("go",)) -> None:
    """Write go.mod and go.sum into a folder. Raises subprocess.SubprocessError where Go cannot get them."""
    asked = [*go, "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"]
    said = subprocess.run(asked, check=True, capture_output=True, timeout=_DOWNLOAD_SECONDS)
    upstream = Path(json.loads(said.stdout)["GoMod"]).read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "go.mod").write_text(text(version, upstream), encoding="utf-8")
    subprocess.run([*go, "mod", "tidy"], cwd=folder, check=True, timeout=_DOWNLOAD_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the Go module of a Kubernetes version.")
    parser.add_argument("version", help="such as 1.37.2")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    write(arguments.version, arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
