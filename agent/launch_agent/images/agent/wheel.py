"""The agent's own package as a wheel: from a checkout, or from an installation by its list of files.

An image is to hold the code that makes it, and where that runs there may be no index that has it. The wheel
is the same, byte for byte, wherever it is made of the same files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

from launch_agent.errors import ImageError

PROJECT = "launch-agent"
_PACKAGE = "launch_agent"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_METADATA = ("METADATA", "entry_points.txt")
_LEFT_OUT = frozenset({"__pycache__"})


def write(into: Path) -> Path:
    """Write the wheel into a folder. Raises ImageError where the installation is not whole."""
    try:
        distribution = metadata.distribution(PROJECT)
    except metadata.PackageNotFoundError as error:
        raise ImageError(
            "the agent that runs here is not installed, so it cannot be packed",
            hint="pip install launch-agent",
        ) from error
    version = distribution.version
    info = f"{_PACKAGE}-{version}.dist-info"
    files = _files(distribution)
    for name in _METADATA:
        if (text := distribution.read_text(name)) is None:
            raise ImageError(f"the installation of the agent lacks {name}", hint="install launch-agent again")
        files[f"{info}/{name}"] = text.encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: launch-agent\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in sorted(files.items())]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    wheel = into / f"{_PACKAGE}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(files.items()):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return wheel


def _files(distribution: metadata.Distribution) -> dict[str, bytes]:
    """The package's files, by their path in the wheel."""
    root = _checkout(distribution)
    if root is not None:
        return _of_checkout(root)
    found: dict[str, bytes] = {}
    for each in distribution.files or ():
        path = each.as_posix()
        if path.startswith(f"{_PACKAGE}/") and not _LEFT_OUT & set(each.parts):
            try:
                found[path] = Path(str(each.locate())).read_bytes()
            except OSError as error:
                raise ImageError(
                    f"the installation of the agent is not whole: {error}", hint="install launch-agent again"
                ) from error
    if not found:
        raise ImageError("the installation of the agent lists no files", hint="install launch-agent again")
    return found


def _checkout(distribution: metadata.Distribution) -> Path | None:
    """The root of the checkout that is installed in place; None for an installation of its own."""
    told = json.loads(distribution.read_text("direct_url.json") or "{}")
    if not told.get("dir_info", {}).get("editable"):
        return None
    return Path(__file__).resolve().parents[4]


def _of_checkout(root: Path) -> dict[str, bytes]:
    """What the build of the package would take, by pyproject.toml."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
        found: dict[str, bytes] = {}
        for package in wheel["packages"]:
            for file in sorted((root / package).rglob("*")):
                parts = file.relative_to(root / package).parts
                if file.is_file() and not _LEFT_OUT & set(parts) and file.suffix != ".pyc":
                    found["/".join((_PACKAGE, *parts))] = file.read_bytes()
        for source, path in wheel["force-include"].items():
            found[path] = (root / source).read_bytes()
    except (OSError, KeyError, ValueError) as error:
        raise ImageError(f"the agent's checkout in {root} cannot be packed: {error}") from error
    return found


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
