"""Runs chart-testing over the chart, with the programs that `make go-tools` built and nothing of the user's.

chart-testing calls helm, yamllint and yamale by name; all three are found in our folders first. What it is to
check stands in ct.yaml. Where a program could not be built, says what is left out, and succeeds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import go_tools

ROOT = Path(__file__).resolve().parents[1]
_SECONDS = 600


def main() -> int:
    """chart-testing's exit code; 0 where it cannot run."""
    home = go_tools.home()
    for tool in go_tools.TOOLS:
        if tool.name in {"helm", "untt", "ct"} and not go_tools.program(tool, home).exists():
            print(f"left out: {tool.without}: {tool.name} is not built (`make go-tools`)")
            return 0
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            **os.environ,
            "PATH": os.pathsep.join(
                [str(home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            "HELM_PLUGINS": str(home / "plugins"),
            **{f"HELM_{kind}_HOME": f"{scratch}/{kind.lower()}" for kind in ("CACHE", "CONFIG", "DATA")},
        }
        command = [str(home / "bin" / "ct"), "lint", "--config", "ct.yaml"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    # Several screens that nobody reads when all is well.
    print(done.stdout if done.returncode else done.stdout.strip().rpartition("\n")[2])
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
