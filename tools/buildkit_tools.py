"""Builds BuildKit's daemon and client for the tests, once, into a cache.

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
_TOOLS = tuple(
    Tool(
        name=name,
        module="buildkit",
        package=f"{_MODULE}/cmd/{name}",
        versioned=_MODULE,
        stamps=(f"{_MODULE}/version.Version=v{{version}}",),
        without="tests of the builder buildkit",
    )
    for name in ("buildctl", "buildkitd")
)


def home() -> Path:
    """The folder of the programs, whether or not it is there."""
    pins = b"".join((go_tools.HERE / "buildkit" / name).read_bytes() for name in ("go.mod", "go.sum"))
    key = hashlib.sha256(pins + f"{_TOOLS} {sys.platform} {platform.machine()}".encode()).hexdigest()[:16]
    return go_tools.cache() / "tools" / f"buildkit-{key}"


def programs() -> Mapping[str, Path]:
    """`buildctl` and `buildkitd`, whether or not they are there."""
    return {tool.name: go_tools.program(tool, home()) for tool in _TOOLS}


def main() -> int:
    go_tools.make(_TOOLS, home(), go_tools.HERE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
