"""Imports the modules named on the command line and reports, as JSON, what our own code did to the world.

Runs in an interpreter of its own, since an audit hook cannot be taken out again. Opening a file is laid to
the nearest frame outside the standard library: the import system's own reads and those of third-party
packages are not ours. Reaching out over the network or starting a process is nobody's right, whoever asks.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import sysconfig
from pathlib import Path
from types import FrameType
from typing import AnyStr

STDLIB = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
WORLD = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen",
         "os.system", "os.exec", "os.fork", "os.posix_spawn"}  # fmt: skip
# Ours only: urllib3 binds a local port at import, to learn whether the machine speaks IPv6.
OURS = {"socket.bind", "open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename"}


def culprit(frame: FrameType | None, own: str) -> str | None:
    """`file:line` of our own code that caused the event, or None where it was somebody else's."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(own):
            return f"{Path(file).name}:{frame.f_lineno}"
        stdlib = file.startswith((*STDLIB, "<frozen")) and "site-packages" not in file
        if file.startswith("<frozen importlib") or not stdlib:
            return None
        frame = frame.f_back
    return None


def probe(own: str, modules: list[str]) -> dict[str, list[str]]:
    """Import each module; findings, and the modules whose third-party package is not installed."""
    findings: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "subprocess.Popen" and arguments[0] == "uname":
            return  # what Azure's SDK says of the machine in its User-Agent
        if event in WORLD:
            findings.append(f"{event} {arguments!r}")
        elif event in OURS and (place := culprit(sys._getframe(1), own)):
            findings.append(f"{place}: {event} {arguments[0]!r}")

    read = os._Environ.__getitem__

    def read_watched(self: os._Environ[AnyStr], key: AnyStr) -> AnyStr:
        if place := culprit(sys._getframe(1), own):
            findings.append(f"{place}: reads the environment variable {key!r}")
        return read(self, key)

    # There is no audit event for reading a variable; this process exists to watch and ends right after.
    os._Environ.__getitem__ = read_watched  # type: ignore[method-assign]
    sys.addaudithook(watch)
    missing = []
    for name in modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("launch_agent"):
                raise
            missing.append(f"{name}: {error.name}")
    return {"findings": findings, "missing": missing}


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    sys.stdout.write(json.dumps(probe(folder, names)))
