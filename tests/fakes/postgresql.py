"""A real PostgreSQL server of its own in a temporary folder, reachable by a Unix socket alone."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Where Debian and others put the programs that are not in PATH.
_FOLDERS = ("/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt/postgresql", "/usr/local/opt/postgresql")


def find_binaries() -> Path | None:
    """The folder of `initdb` and `pg_ctl`; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    for folder in _FOLDERS:
        for initdb in sorted(Path(folder).glob("**/bin/initdb"), reverse=True):
            return initdb.parent
    return None


@contextmanager
def postgresql(binaries: Path) -> Iterator[str]:
    """Start a server; gives its URL, stops it and removes its data. PostgreSQL does not run as root: there,
    it runs as its own user or as nobody."""
    user = _user()
    # Short: the path of a Unix socket may have about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"

        def run(program: str, *args: str) -> None:
            subprocess.run(
                [str(binaries / program), "-D", str(data), *args],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                cwd=folder,
                user=user,
                timeout=60,
            )

        run("initdb", "-U", "launch", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://launch@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
