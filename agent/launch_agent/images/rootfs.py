"""Makes a small container image from programs of this machine, without any registry.

`docker import` takes the tar archive that `image_from_host` writes: the named programs, the shared libraries
that they need (as `ldd` tells) and, where asked for, a Python interpreter with its standard library. The demo
and the tests run their jobs in such an image, so that neither needs to pull anything.

Pitfalls: Linux only (a Mac's programs do not run in a Linux container), and the image fits engines of this
machine's own architecture. The archive is the same byte for byte while the files are the same, so its digest
can serve as a tag.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from launch_agent.errors import ImageError

_LDD_TIMEOUT = 20.0  # seconds
# `libc.so.6 => /lib/libc.so.6 (0x…)`, or the loader's own line, which has no arrow.
_LDD_PATH = re.compile(r"(?:=>\s*|^\s*)(/\S+)\s+\(0x", re.MULTILINE)
# Of the libraries that PEP 600 lets a wheel expect, those that are libc's or the compiler's own.
_RUNTIMES = (
    "libgcc_s.so.1", "libstdc++.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libm.so.6",
    "libutil.so.1", "libresolv.so.2",
)  # fmt: skip
# Directories that are symbolic links where /usr is merged; a program's interpreter is found through them.
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_STDLIB_LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "idle_test", "tkinter", "turtledemo",
     "ensurepip", "lib2to3", "pydoc_data"}
)  # fmt: skip
# Extensions of what is left out, and CPython's own test extensions.
_EXTENSION_LEFT_OUT = re.compile(r"(_tkinter|_test|_ctypes_test|_xxtestfuzz|xxlimited|xxsubtype)")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_FOLDERS = {"tmp": 0o1777, "root": 0o755, "proc": 0o755, "sys": 0o755, "dev": 0o755, "etc": 0o755}


def image_from_host(archive: Path, binaries: Sequence[str], *, python: bool = False) -> Path:
    """Write a tar archive for `docker import` to the path `archive`, and hand that path back.

    `binaries` are names on PATH or absolute paths. `python` adds the interpreter that runs this code, as
    `/usr/bin/python3`, with its standard library. Raises ImageError where a program is not found, or where
    this is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise ImageError(
            "cannot make an image from this machine's programs: they are not Linux programs",
            hint="use an image that your Docker engine can pull",
        )
    programs = [_find(name) for name in binaries]
    content: dict[str, Path] = {}
    for program in programs:
        content[_inside(program)] = program
    links = {name: str(Path("/", name).readlink()) for name in _MERGED if Path("/", name).is_symlink()}
    extensions: list[Path] = []
    if python:
        interpreter = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
        content[_inside(interpreter)] = interpreter
        for name in ("usr/bin/python3", f"usr/bin/python3.{sys.version_info.minor}"):
            if _inside(interpreter) != name:
                links[name] = f"/{_inside(interpreter)}"
        programs.append(interpreter)
        for path in _standard_library():
            content[_inside(path)] = path
            if path.suffix == ".so":
                extensions.append(path)
    libraries = _libraries([*programs, *extensions])
    for library in libraries | (_runtimes(libraries) if python else set()):
        content[_inside(library)] = library
    _write(archive, content, links)
    return archive


def _find(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ImageError(f"cannot put {name!r} in an image: there is no such program on this machine")
    return Path(found)


def _inside(path: Path) -> str:
    """Where a file of the machine lies in the image: its folder without symbolic links, its own name kept."""
    return str(path.parent.resolve() / path.name).lstrip("/")


def _standard_library() -> Iterator[Path]:
    import sysconfig  # noqa: PLC0415 - slow to import, and only of use here

    for root in sorted({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}):
        # In a virtual environment platstdlib names a folder without a standard library.
        if not Path(root, "os.py").exists():
            continue
        for folder, names, files in os.walk(root):
            names[:] = sorted(set(names) - _STDLIB_LEFT_OUT - _config_folders(names))
            for file in sorted(files):
                if _EXTENSION_LEFT_OUT.match(file):
                    continue
                yield Path(folder, file)


def _config_folders(names: Iterable[str]) -> set[str]:
    """`config-3.11-…` holds the static library and what extensions are compiled with."""
    return {name for name in names if name.startswith("config-")}


def _libraries(programs: Sequence[Path]) -> set[Path]:
    """The shared libraries that these need, the loader included. Scripts and static programs need none."""
    found: set[Path] = set()
    for start in range(0, len(programs), 50):
        some = [str(path) for path in programs[start : start + 50]]
        try:
            # ldd ends with 1 where one of the files is not dynamic; what it says of the others still holds.
            text = subprocess.run(  # noqa: S603 - fixed program, paths of this machine
                ["ldd", *some],  # noqa: S607 - a part of libc, found where the machine keeps it
                capture_output=True,
                text=True,
                check=False,
                timeout=_LDD_TIMEOUT,
                env={**os.environ, "LC_ALL": "C"},
            ).stdout
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ImageError(f"cannot list the libraries of {some[0]}: {error}") from error
        found.update(Path(path) for path in _LDD_PATH.findall(text))
    return found


def _runtimes(libraries: Iterable[Path]) -> set[Path]:
    """What wheels expect of any Linux, as far as it lies beside libc."""
    homes = {library.parent for library in libraries if library.name == "libc.so.6"}
    return {home / name for home in homes for name in _RUNTIMES if (home / name).exists()}


def _write(archive: Path, content: dict[str, Path], links: dict[str, str]) -> None:
    folders = dict(_FOLDERS)
    for name in [*content, *links, *(target.lstrip("/") for target in links.values())]:
        for parent in Path(name).parents:
            if str(parent) != ".":
                folders.setdefault(str(parent), 0o755)
    for name, target in links.items():
        if name in _MERGED:
            folders.setdefault(target.lstrip("/"), 0o755)
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, mode in sorted(folders.items()):
            tar.addfile(_entry(name, tarfile.DIRTYPE, mode))
        for name, target in sorted(links.items()):
            link = _entry(name, tarfile.SYMTYPE, 0o777)
            link.linkname = target
            tar.addfile(link)
        for name, text in sorted(_FILES.items()):
            entry = _entry(name, tarfile.REGTYPE, 0o644)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
        for name, path in sorted(content.items()):
            data = path.read_bytes()
            entry = _entry(name, tarfile.REGTYPE, 0o755 if os.access(path, os.X_OK) else 0o644)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = mode
    return entry
