"""Puts what `launch-agent permissions` prints into docs/permissions.md, below the lines that name a command.

`--check` writes nothing and ends with 1 where the page is not what it would be.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from click.testing import CliRunner

from launch_agent.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "permissions.md"
_BLOCK = re.compile(r"<!-- (?P<command>permissions .+?) -->\n(\n```json\n.*?\n```\n)?", re.DOTALL)


def page() -> str:
    """The whole page as it should be. Commands name files from the top of the repository."""
    return _BLOCK.sub(_block, PAGE.read_text(encoding="utf-8"))


def _block(found: re.Match[str]) -> str:
    words = [
        str(ROOT / word) if word.startswith("examples/") else word for word in shlex.split(found["command"])
    ]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    return f"<!-- {found['command']} -->\n\n```json\n{result.output.strip()}\n```\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == page() else f"{PAGE} is stale: run {__file__}")
    PAGE.write_text(page(), encoding="utf-8")
