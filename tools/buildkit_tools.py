"""Builds BuildKit's daemon and client for the tests, and what lets the daemon do without root, once, into a
cache.

They stand apart from `go_tools`, whose folder is built anew when any of its programs changes, and appear
in a folder whose name holds a hash of their pins. The daemon starts containers with the `runc` of `go_tools`.
What cannot be built here is named with what is left out for want of it, and is no error.

    python -m tools.buildkit_tools
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from tools import go_tools
from tools.go_tools import Tool

_MODULE = "github.com/moby/buildkit"
_ROOTLESSKIT = "github.com/rootless-containers/rootlesskit/v3"
_TOOLS = (
    *(
        Tool(
            name=name,
            module="buildkit",
            package=f"{_MODULE}/cmd/{name}",
            versioned=_MODULE,
            stamps=(f"{_MODULE}/version.Version=v{{version}}",),
            without="tests of the builder buildkit",
        )
        for name in ("buildctl", "buildkitd")
    ),
    Tool(
        name="rootlesskit",
        module="rootlesskit",
        package=f"{_ROOTLESSKIT}/cmd/rootlesskit",
        versioned=_ROOTLESSKIT,
        without="tests of BuildKit without root",
    ),
)


def home() -> Path:
    """The folder of the programs, whether or not it is there."""
    modules = sorted({tool.module for tool in _TOOLS})
    files = [go_tools.HERE / module / name for module in modules for name in ("go.mod", "go.sum")]
    pins = b"".join(file.read_bytes() for file in files)
    key = hashlib.sha256(pins + f"{_TOOLS} {sys.platform} {platform.machine()}".encode()).hexdigest()[:16]
    return go_tools.cache() / "tools" / f"buildkit-{key}"


def programs() -> Mapping[str, Path]:
    """`buildctl`, `buildkitd` and `rootlesskit`, whether or not they are there."""
    return {tool.name: go_tools.program(tool, home()) for tool in _TOOLS}


def main() -> int:
    go_tools.make(_TOOLS, home(), go_tools.HERE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
