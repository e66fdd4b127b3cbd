"""Leaves out of an unpacked set of packages what rules name. Runs by itself too, with nothing but Python.

An image's folder holds a copy of this file beside `prune.json`: the engine that builds it removes the same
files as an image that is put together without one.

    python3 sweep.py prune.json site-packages
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


@functools.cache
def expression(pattern: str) -> re.Pattern[str]:
    """Paths below site-packages: `*` is anything but a slash, `**` anything, `[a-m]` one of these. A pattern
    means what lies below it too: `a/b` is the folder with all that is in it."""
    parts = []
    for piece in re.split(r"(\*\*/?|\*|\[[^]]*\])", pattern):
        if piece.startswith("**"):
            parts.append("(?:.*/)?" if piece.endswith("/") else ".*")
        elif piece == "*":
            parts.append("[^/]*")
        elif piece.startswith("["):
            parts.append(f"[^{piece[2:]}" if piece.startswith("[!") else piece)
        else:
            parts.append(re.escape(piece))
    return re.compile(f"{''.join(parts)}(?:/.*)?")


def drops(path: str, pattern: str, keep: Sequence[str]) -> bool:
    """Whether a path is left out by a pattern and its exceptions."""
    if expression(pattern).fullmatch(path) is None:
        return False
    return not any(expression(each).fullmatch(path) for each in keep)


def sweep(folder: Path, rules: Sequence[Mapping[str, Any]]) -> int:
    """Remove from `folder` what the rules name, put in what they put in its place, and remove folders that
    are empty then; the bytes that this saved. A rule has `pattern`, `keep` and `instead` (a text or None)."""
    saved = 0
    removing = [rule for rule in rules if rule["instead"] is None]
    for here, folders, files in os.walk(folder, topdown=False):
        for name in files:
            file = Path(here, name)
            path = file.relative_to(folder).as_posix()
            if any(drops(path, rule["pattern"], rule["keep"]) for rule in removing):
                saved += file.lstat().st_size
                file.unlink()
        for name in folders:
            inner = Path(here, name)
            if not inner.is_symlink() and not any(inner.iterdir()):
                inner.rmdir()
    for rule in rules:
        file = folder / rule["pattern"]
        if rule["instead"] is not None and file.is_file():
            saved += file.stat().st_size
            file.write_text(rule["instead"], encoding="utf-8")
            saved -= file.stat().st_size
    return saved


def main(arguments: Sequence[str]) -> int:
    """Command line: the rules as JSON, the folder, and folders that go as a whole."""
    rules, folder, *whole = arguments
    sweep(Path(folder), json.loads(Path(rules).read_text(encoding="utf-8")))
    for each in whole:
        shutil.rmtree(each, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
