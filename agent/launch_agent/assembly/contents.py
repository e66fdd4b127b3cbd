"""What is in a layer: its files, and the packages that they belong to, with versions, licences and bytes.

Python packages tell of themselves in `*.dist-info`; Debian's and Alpine's stand in the databases of their
installers, of which each layer holds the whole new state. Byte code, which is in no list, counts for the
package of its source.

Pitfall: an installer's list names files that were left out of an image, so only what the layer really holds
is counted.
"""

from __future__ import annotations

import email.parser
import io
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import PurePosixPath

from launch_agent.assembly.licences import licence_of
from launch_agent.errors import ImageError

_LARGEST_TEXT = 32 << 20
_DIST_INFO = re.compile(r"(?P<site>.*/)?(?P<name>[^/]+)\.dist-info/(?P<file>METADATA|RECORD)")
# Debian's own images, and the distroless ones, which have a file for each package.
_DPKG = re.compile(r"var/lib/dpkg/(?:status|status\.d/[^/]+)")
_APK = "lib/apk/db/installed"
_BYTE_CODE = re.compile(r"(?P<folder>(?:.*/)?)__pycache__/(?P<name>[^/]+)\.cpython-\d+\.pyc")
# How layers mark what they remove from the ones below (the image specification, "Whiteouts").
WHITEOUT = ".wh."


class Kind(Enum):
    """Who installed a package; the value is its type in package URLs."""

    PYTHON = "pypi"
    DEBIAN = "deb"
    ALPINE = "apk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An installed package. `size` counts its bytes in the layer; of a system's package it is what the
    installer says. `needs` are the names of other packages, as it wrote them."""

    kind: Kind
    name: str
    version: str
    licence: str = ""
    size: int = 0
    files: int = 0
    summary: str = ""
    needs: Sequence[str] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What it is, whatever its version."""
        return self.kind.value, self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a layer holds: bytes and number of its files, and its paths with their sizes; `removed` are the
    paths of lower layers that it takes away, `links` the targets of symbolic links, `texts` the files that
    were asked for.

    `told` are the Python packages that tell of themselves here, by the folder where they do, `owners` whose
    files are which, `system` what a system's installer lists. `packages_of` puts it together.
    """

    size: int
    files: int
    paths: Mapping[str, int]
    told: Mapping[str, Package] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    system: Sequence[Package] = ()
    removed: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, bytes] = field(default_factory=dict)


def read(chunks: Iterable[bytes], name: str, *, keep: Sequence[str] = ()) -> Contents:
    """Read a layer, compressed or not. `name` is for the message where it is none; `keep` are the paths of
    files whose content is wanted."""
    paths: dict[str, int] = {}
    texts: dict[str, bytes] = {}
    links: dict[str, str] = {}
    removed = []
    coming = iter(chunks)
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Chunks(coming)), mode="r|*") as archive:
            for member in archive:
                path = str(PurePosixPath(member.name.lstrip("/")))
                if PurePosixPath(path).name.startswith(WHITEOUT):
                    removed.append(path)
                elif not member.isdir():
                    paths[path] = member.size if member.isreg() else 0
                    if member.issym():
                        links[path] = member.linkname
                    if member.isreg() and (path in keep or _is_told(path)) and member.size <= _LARGEST_TEXT:
                        content = archive.extractfile(member)
                        texts[path] = content.read() if content is not None else b""
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise ImageError(
            f"the layer {name} cannot be read: {error}",
            hint="layers are tar archives, packed by gzip, bzip2, xz or not at all",
        ) from error
    for _ in coming:  # to its end, where the bytes are checked against their digest
        pass
    told, owners = _python(texts)
    return Contents(
        size=sum(paths.values()),
        files=len(paths),
        paths=paths,
        told=told,
        owners=owners,
        system=(*_debian(texts), *_alpine(texts)),
        removed=tuple(removed),
        links=links,
        texts={path: texts[path] for path in keep if path in texts},
    )


def _is_told(path: str) -> bool:
    return bool(path == _APK or _DPKG.fullmatch(path) or _DIST_INFO.fullmatch(path))


def packages_of(layers: Sequence[Contents]) -> list[list[Package]]:
    """The packages of each layer of an image, with their bytes in that layer, sorted by name. A package may
    tell of itself in another layer than its files are in; a system's packages count where they came."""
    told = {own: package for each in layers for own, package in each.told.items()}
    owners = {path: own for each in layers for path, own in each.owners.items()}
    before: set[tuple[tuple[str, str], str]] = set()
    found = []
    for each in layers:
        sizes: dict[str, list[int]] = {}
        for path, size in each.paths.items():
            source = _BYTE_CODE.sub(r"\g<folder>\g<name>.py", path)
            owner = owners.get(path) or owners.get(source) or path.rpartition("/")[0]
            if owner in told:
                sizes.setdefault(owner, []).append(size)
        packages = [
            replace(told[own], size=sum(counted), files=len(counted)) for own, counted in sizes.items()
        ]
        new = [package for package in each.system if (package.key, package.version) not in before]
        before.update((package.key, package.version) for package in each.system)
        found.append(sorted([*packages, *new], key=lambda package: package.key))
    return found


def whole(layers: Sequence[Contents]) -> list[Package]:
    """The packages of an image, each once with all its bytes, sorted by name. Of a system's packages the
    last layer that lists them decides."""
    listing = next((each.system for each in reversed(layers) if each.system), ())
    merged: dict[tuple[tuple[str, str], str], Package] = {
        (package.key, package.version): package for package in listing
    }
    for packages in packages_of(layers):
        for package in packages:
            if package.kind is not Kind.PYTHON:
                continue
            key = (package.key, package.version)
            known = merged.get(key, replace(package, size=0, files=0))
            merged[key] = replace(known, size=known.size + package.size, files=known.files + package.files)
    return [merged[key] for key in sorted(merged)]


def _python(texts: Mapping[str, bytes]) -> tuple[dict[str, Package], dict[str, str]]:
    """The packages by their `dist-info`, and for each path whose it is."""
    found: dict[str, Package] = {}
    owners: dict[str, str] = {}
    for path, text in texts.items():
        if not (match := _DIST_INFO.fullmatch(path)):
            continue
        own = path.rpartition("/")[0]
        if match["file"] == "METADATA":
            found[own] = package_of(text)
            continue
        site = match["site"] or ""
        for line in text.decode("utf-8", "replace").splitlines():
            named = line.rsplit(",", 2)[0].strip('"')
            owners[_plain(f"{site}{named}")] = own
    return found, owners


def package_of(metadata: bytes) -> Package:
    """What the METADATA of a Python package says."""
    told = email.parser.BytesParser().parsebytes(metadata, headersonly=True)
    needs = []
    for line in told.get_all("Requires-Dist") or ():
        requirement, _, marker = str(line).partition(";")
        if "extra" not in marker and (name := re.match(r"[A-Za-z0-9._-]+", requirement.strip())):
            needs.append(name[0])
    return Package(
        kind=Kind.PYTHON,
        name=str(told.get("Name", "")).strip(),
        version=str(told.get("Version", "")).strip(),
        licence=licence_of(
            str(told.get("License-Expression") or ""),
            [str(each) for each in told.get_all("Classifier") or ()],
            str(told.get("License") or ""),
        ),
        summary=str(told.get("Summary") or "").strip(),
        needs=tuple(dict.fromkeys(needs)),
    )


def _debian(texts: Mapping[str, bytes]) -> Iterator[Package]:
    for path, text in texts.items():
        if not _DPKG.fullmatch(path) or path.endswith(".md5sums"):
            continue
        for fields in _stanzas(text, ": "):
            if fields.get("Package") and fields.get("Status", "installed").endswith("installed"):
                size = fields.get("Installed-Size", "0")
                yield Package(
                    kind=Kind.DEBIAN,
                    name=fields["Package"],
                    version=fields.get("Version", ""),
                    size=int(size) * 1024 if size.isdigit() else 0,
                )


def _alpine(texts: Mapping[str, bytes]) -> Iterator[Package]:
    for fields in _stanzas(texts.get(_APK, b""), ":"):
        if fields.get("P"):
            size = fields.get("I", "0")
            yield Package(
                kind=Kind.ALPINE,
                name=fields["P"],
                version=fields.get("V", ""),
                licence=fields.get("L", ""),
                size=int(size) if size.isdigit() else 0,
            )


def _stanzas(text: bytes, separator: str) -> Iterator[dict[str, str]]:
    for stanza in text.decode("utf-8", "replace").split("\n\n"):
        pairs = (line.partition(separator) for line in stanza.splitlines() if not line.startswith(" "))
        yield {name: value.strip() for name, colon, value in pairs if colon}


def _plain(path: str) -> str:
    """A path whose `..` are resolved: commands are listed as `../../../bin/name`."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class _Chunks(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override] # the base takes any buffer
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        size = min(len(into), len(self._left))
        into[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
