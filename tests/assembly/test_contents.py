"""What is in a layer is told by whoever installed it, and every byte is somebody's or nobody's."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.assembly import contents
from launch_agent.assembly.contents import Kind
from launch_agent.assembly.licences import is_expression, licence_of
from launch_agent.errors import ImageError

SITE = "opt/x/lib/python3.12/site-packages"
PART = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=120
)
PATHS = st.lists(
    PART.filter(lambda part: part not in (".", "..") and not part.startswith(".wh.")), min_size=1
)


def tar(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for path, target in (links or {}).items():
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


def python(name: str, files: Mapping[str, bytes], *, version: str = "1") -> dict[str, bytes]:
    info = f"{name}-{version}.dist-info"
    record = "".join(f"{path},sha256=x,1\n" for path in (*files, f"{info}/METADATA", f"{info}/RECORD"))
    told = {**files, f"{info}/RECORD": record.encode()}
    told[f"{info}/METADATA"] = f"Name: {name}\nVersion: {version}\nRequires-Dist: click (>=8)\n".encode()
    return {f"{SITE}/{path}": content for path, content in told.items()}


@given(st.dictionaries(PATHS.map("/".join), st.binary(max_size=200), max_size=6), st.integers(1, 50))
def test_any_files_are_counted_however_they_come(files: dict[str, bytes], piece: int) -> None:
    flat = {f"{number}/{path}": content for number, (path, content) in enumerate(files.items())}
    packed = gzip.compress(tar(flat))
    found = contents.read((packed[i : i + piece] for i in range(0, len(packed), piece)), "x")
    assert (found.size, found.files) == (sum(map(len, flat.values())), len(flat))
    assert set(found.paths) == set(flat)


def test_byte_code_counts_for_the_package_of_its_source_and_lists_may_lie_elsewhere() -> None:
    files = python("speech", {"speech/a.py": b"12", "speech/gone.py": b"", "../../../bin/speak": b"123"})
    del files[f"{SITE}/speech/gone.py"]
    files[f"{SITE}/speech/__pycache__/a.cpython-312.pyc"] = b"1234"
    files["opt/x/bin/speak"] = files.pop(f"{SITE}/../../../bin/speak")
    told = {path: content for path, content in files.items() if ".dist-info/" in path}
    rest = {path: content for path, content in files.items() if path not in told}
    layers = [contents.read([tar(rest)], "code"), contents.read([tar(told)], "lists")]
    first, second = contents.packages_of(layers)
    assert [(each.name, each.size, each.files) for each in first] == [("speech", 9, 3)]
    (whole,) = contents.whole(layers)
    assert whole.size == sum(map(len, files.values()))
    assert (whole.version, whole.needs) == ("1", ("click",))
    assert second[0].files == 2


def test_packages_of_systems_count_where_they_came() -> None:
    def status(*names: str) -> bytes:
        stanza = "Package: {}\nStatus: install ok installed\nInstalled-Size: 2\nVersion: 1:2\n"
        gone = "\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
        return ("\n".join(stanza.format(name) for name in names) + gone).encode()

    one = contents.read([tar({"var/lib/dpkg/status": status("libc6")})], "one")
    two = contents.read([lzma.compress(tar({"var/lib/dpkg/status": status("libc6", "git")}))], "two")
    assert [[each.name for each in packages] for packages in contents.packages_of([one, two])] == [
        ["libc6"],
        ["git"],
    ]
    assert [(each.name, each.size) for each in contents.whole([one, two])] == [("git", 2048), ("libc6", 2048)]
    less = contents.read([tar({"var/lib/dpkg/status": status("libc6")})], "three")
    assert [each.name for each in contents.whole([one, two, less])] == ["libc6"]
    apk = contents.read([tar({"lib/apk/db/installed": b"P:musl\nV:1.2\nL:MIT\nI:10\n\n"})], "apk")
    (musl,) = contents.whole([apk])
    assert (musl.kind, musl.licence, musl.size) == (Kind.ALPINE, "MIT", 10)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        gzip.compress(b"text"),
        gzip.compress(tar({"a": b"1" * 9999}))[:-40],
        b"\x28\xb5\x2f\xfd zstd",
    ],
)
def test_what_is_no_layer_is_told(content: bytes) -> None:
    with pytest.raises(ImageError, match="the layer x cannot be read") as told:
        contents.read([content], "x")
    assert told.value.hint


LICENCES = [
    ("MIT OR Apache-2.0", [], "", "MIT OR Apache-2.0"),
    ("", ["License :: OSI Approved :: MIT License"], "", "MIT"),
    ("", ["License :: OSI Approved :: BSD License"], "BSD-2-Clause", "BSD-2-Clause"),
    ("", ["License :: OSI Approved :: BSD License"], "a\nlong\ntext" * 50, "BSD-3-Clause"),
    ("", ["License :: Other/Proprietary License"], "", "Other/Proprietary License"),
    ("", [], "Apache License, Version 2.0", "Apache-2.0"),
    ("", [], "a text " * 50, ""),
    ("", [], "", ""),
]


@pytest.mark.parametrize(("expression", "classifiers", "text", "told"), LICENCES)
def test_licences_in_spdx_words(expression: str, classifiers: list[str], text: str, told: str) -> None:
    assert licence_of(expression, classifiers, text) == told
    assert is_expression(told) == (told not in ("", "Other/Proprietary License"))
