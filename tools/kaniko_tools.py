"""Builds kaniko's executor for the tests, once, into a cache.

It is the last release of the project that the maintained fork goes on from: the fork itself is no Go module
that can be had by its name. It stands apart from `go_tools`, whose folder is built anew when any of its
programs changes, in a folder whose name holds a hash of its pins. What cannot be built here is named with
what is left out for want of it, and is no error.

    python -m tools.kaniko_tools
"""

from __future__ import annotations

import hashlib
import platform
import sys
from pathlib import Path

from tools import go_tools
from tools.go_tools import Tool

_MODULE = "github.com/GoogleContainerTools/kaniko"
_TOOL = Tool(
    name="executor",
    module="kaniko",
    package=f"{_MODULE}/cmd/executor",
    versioned=_MODULE,
    stamps=(f"{_MODULE}/pkg/version.version=v{{version}}",),
    without="builds by kaniko on a real node",
)


def _home() -> Path:
    pins = b"".join((go_tools.HERE / "kaniko" / name).read_bytes() for name in ("go.mod", "go.sum"))
    key = hashlib.sha256(pins + f"{_TOOL} {sys.platform} {platform.machine()}".encode()).hexdigest()[:16]
    return go_tools.cache() / "tools" / f"kaniko-{key}"


def executor() -> Path:
    """The program, whether or not it is there."""
    return go_tools.program(_TOOL, _home())


def main() -> int:
    go_tools.make([_TOOL], _home(), go_tools.HERE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
