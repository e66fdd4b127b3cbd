"""The programs of a base image: which Python it has, whether it has git, which C library it stands on.

The official images say their Python's version in PYTHON_VERSION, and where it lies is known; of others the
layers are listed, once for each digest where there is a folder to keep the lists in. Nothing is run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from launch_agent.assembly import contents
from launch_agent.assembly.image import Base
from launch_agent.assembly.origin import Origin, hex_of
from launch_agent.clients.oci.model import Descriptor
from launch_agent.errors import ImageError

_FOLDERS = ("usr/local/bin/", "usr/bin/", "bin/", "usr/local/sbin/", "usr/sbin/", "sbin/", "opt/")
# musl's loader is how Alpine's programs are told from the rest.
_MUSL = re.compile(r"(?:usr/)?lib/ld-musl-[^/]+\.so\.1")
_PYTHON = re.compile(r"(?:usr/|usr/local/|opt/[^/]+/)?bin/python(?P<version>3\.\d{1,2})")
_LINKED = re.compile(r"/\S*/python(?P<version>3\.\d{1,2})")
_ACCOUNTS = "etc/passwd"
_OF_ALPINE = re.compile(r"alpine-minirootfs|\bapk add\b")


def python(base: Base, origin: Origin, wanted: str = "", *, cache: Path | None = None) -> tuple[str, str]:
    """The path and version (`3.12`) of the base's Python; of the wanted version, where one is.

    Raises ImageError where the base has none of it, and where it stands on musl, for which no wheels are
    looked for.
    """
    found = _official(base) or _listed(base, origin, cache)
    if wanted in found:
        return found[wanted], wanted
    if found and not wanted:
        newest = max(found, key=lambda version: int(version.partition(".")[2]))
        return found[newest], newest
    has = f"has Python {', '.join(sorted(found))}" if found else "has no Python"
    raise ImageError(
        f"the base image {base.name} {has}, and Python {wanted or '3'} is wanted",
        hint="name a base image with that version" if found else "name one such as python:3.12-slim",
    )


def lacking(
    base: Base, origin: Origin, names: Iterable[str], *, cache: Path | None = None
) -> tuple[str, ...]:
    """Which of these programs the base does not have."""
    there = {PurePosixPath(path).name for path in listing(base, origin, cache=cache)}
    return tuple(name for name in names if name not in there)


def listing(base: Base, origin: Origin, *, cache: Path | None = None) -> Mapping[str, str]:
    """The paths of the base's programs, without a `/` before them, with the targets of links."""
    found: dict[str, str] = {}
    for layer in base.layers:
        added, removed, _ = _layer(origin, layer, cache)
        for path in removed:
            folder, _, name = path.rpartition("/")
            gone = folder if name == ".wh..wh..opq" else f"{folder}/{name.removeprefix(contents.WHITEOUT)}"
            for each in [path for path in found if path == gone or path.startswith(f"{gone}/")]:
                del found[each]
        found.update(added)
    return found


def accounts(base: Base, origin: Origin, *, cache: Path | None = None) -> str:
    """The text of the base's /etc/passwd; empty where it has none."""
    texts = [_layer(origin, layer, cache)[2] for layer in base.layers]
    return next((text for text in reversed(texts) if text), "")


def _official(base: Base) -> dict[str, str]:
    said = base.env.get("PYTHON_VERSION", "")
    if not re.fullmatch(r"3\.\d{1,2}(\..*)?", said):
        return {}
    history = base.config.get("history")
    steps = history if isinstance(history, list) else []
    if any(
        isinstance(each, Mapping) and _OF_ALPINE.search(str(each.get("created_by", ""))) for each in steps
    ):
        raise _musl(base)
    version = ".".join(said.split(".")[:2])
    return {version: f"/usr/local/bin/python{version}"}


def _listed(base: Base, origin: Origin, cache: Path | None) -> dict[str, str]:
    there = listing(base, origin, cache=cache)
    if any(_MUSL.fullmatch(path) for path in there):
        raise _musl(base)
    found: dict[str, str] = {}
    for path in sorted(there, reverse=True):  # /usr/local/bin before /usr/bin, as in PATH
        target = there[path]
        if match := _PYTHON.fullmatch(path):
            found.setdefault(match["version"], f"/{path}")
        elif path.endswith(("/python3", "/python")) and (match := _LINKED.fullmatch(target)):
            # Its home is where the link leads: there is its standard library.
            found.setdefault(match["version"], target)
    return found


def _musl(base: Base) -> ImageError:
    return ImageError(
        f"the base image {base.name} stands on musl (Alpine), for which few packages have wheels",
        hint="name a base image that stands on glibc, such as python:3.12-slim",
    )


def _layer(origin: Origin, layer: Descriptor, cache: Path | None) -> tuple[dict[str, str], list[str], str]:
    """What a layer adds, with the targets of links, what it removes, and its /etc/passwd."""
    kept = cache / f"{hex_of(layer.digest)}.json" if cache else None
    if kept is not None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            told = json.loads(kept.read_text())
            return dict(told["added"].items()), [str(each) for each in told["removed"]], str(told["accounts"])
    whole = contents.read(origin.read(layer), f"{layer.digest} of {origin.name}", keep=(_ACCOUNTS,))
    added = {
        path: whole.links.get(path, "")
        for path in whole.paths
        if path.startswith(_FOLDERS) or _MUSL.fullmatch(path)
    }
    accounts = whole.texts.get(_ACCOUNTS, b"").decode("utf-8", "replace")
    if kept is not None:
        _keep(kept, json.dumps({"added": added, "removed": whole.removed, "accounts": accounts}))
    return added, list(whole.removed), accounts


def _keep(file: Path, text: str) -> None:
    """There whole or not at all; a cache that cannot be written is none."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        number, part = tempfile.mkstemp(dir=file.parent, prefix=".")
        with os.fdopen(number, "w") as out:
            out.write(text)
        Path(part).replace(file)
