"""Locked packages as wheels for any platform: from a cache, or by pip from wherever pip is told to look.

A wheel is kept by its digest, and which wheel pip chose is kept by what was asked and for which target. So
a second build asks nobody. Addresses with passwords reach pip in a file that only its user can read, never on
a command line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from launch_agent.assembly import pip_words
from launch_agent.assembly.wheels import Target, normal
from launch_agent.errors import ImageError
from launch_agent.spec.secret import Secret

_SECONDS = 1800.0
_WITHHELD = ("WANDB_API_KEY", "LAUNCH_AGENT_API_KEY", "LAUNCH_AGENT_INDEX_PASSWORD")
Report = Callable[[str, int, int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel on disk. `name` is normalised; `digest` is `sha256:…` of the file."""

    name: str
    version: str
    path: Path
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where packages come from. `environment` is what pip runs with (proxies; its own variables and files);
    `url`, `user`, `password` and the authority's certificate `ca` are said in place of pip's own where they
    are given. `with_build` lets this machine build what has no wheel."""

    environment: Mapping[str, str]
    url: str = ""
    user: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    ca: Path | None = None
    with_build: bool = False


def fetch(
    lines: Sequence[str],
    target: Target,
    cache: Path,
    source: Source,
    *,
    report: Report = lambda what, done, total: None,
) -> list[Wheel]:
    """The wheels of locked requirements (`name==1.0 --hash=sha256:…`), in their order.

    `report` is told what is done, and how many of how many packages. Raises ImageError naming a package that
    has no wheel for the target, and what else keeps it from coming.
    """
    found = {line: wheel for line in lines if (wheel := _kept(line, target, cache)) is not None}
    report("packages", len(found), len(lines))
    missing = [line for line in lines if line not in found]
    if missing:
        try:
            with tempfile.TemporaryDirectory(prefix=".fetching-", dir=_made(cache)) as folder:
                _fetch(
                    missing,
                    Path(folder),
                    target,
                    source,
                    lambda got: report("packages", len(found) + got, len(lines)),
                )
                for line in missing:
                    found[line] = _keep(line, target, cache, _of(line, Path(folder)))
        except OSError as error:
            raise ImageError(
                f"the packages cannot be kept in {cache}: {error.strerror or error}",
                hint="make room there, or set XDG_CACHE_HOME to a folder with room",
            ) from error
    report("packages", len(lines), len(lines))
    return [found[line] for line in lines]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _fetch(
    lines: Sequence[str], into: Path, target: Target, source: Source, report: Callable[[int], object]
) -> None:
    waiting = list(lines)
    while True:
        said = _download(waiting, into, target, source, report)
        if not said:
            return
        lacking = pip_words.without_wheel(said)
        line = next((each for each in waiting if _name(each) == normal(lacking.partition("==")[0])), "")
        if not (lacking and line and source.with_build):
            raise pip_words.failure(said, str(target.platform), target.python)
        _build(line, into, target, source)
        waiting.remove(line)


def _download(
    lines: Sequence[str], into: Path, target: Target, source: Source, report: Callable[[int], object]
) -> str:
    """What pip said, where it failed; else empty."""
    if not lines:
        return ""
    arguments = ("download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(into))
    got = 0

    def line(text: str) -> None:
        nonlocal got
        if text.startswith("Collecting "):
            report(got)
            got += 1

    return _pip((*arguments, *target.tags()), lines, into, source, line)


def _build(line: str, into: Path, target: Target, source: Source) -> None:
    """Build one package here. Raises ImageError where the wheel would be for another Python or machine."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if os.uname().machine != target.machine or own != target.python or sys.platform != "linux":
        raise ImageError(
            f"{_pin(line)} has no wheel for Python {target.python} on {target.platform}, and this "
            f"machine, with Python {own} on {sys.platform}/{os.uname().machine}, can build none",
            hint="build the image on a machine of that platform with that Python",
        )
    name = line.partition("==")[0]
    arguments = ("wheel", "--no-deps", "--no-binary", name, "--require-hashes", "--wheel-dir", str(into))
    if said := _pip(arguments, [line], into, source, lambda text: None):
        raise ImageError(
            f"{_pin(line)} cannot be built: {pip_words.last(said)}",
            hint="what its build needs (compilers, headers) must be on this machine",
        )


def _pip(
    arguments: Sequence[str],
    lines: Sequence[str],
    folder: Path,
    source: Source,
    line: Callable[[str], object],
) -> str:
    """Run pip; what it said, where it failed."""
    listing = folder / ".requirements.txt"
    listing.write_text("".join(f"{each}\n" for each in lines))
    command = [
        # What an index answers instead of a page of links is said at the second level of words only.
        *(sys.executable, "-m", "pip", "-vv", *arguments, "--requirement", str(listing), "--no-input"),
        *("--disable-pip-version-check", "--progress-bar", "off", "--retries", "2", "--timeout", "20"),
    ]
    kept: list[str] = []
    with configured(source, folder) as environment:
        process = subprocess.Popen(  # noqa: S603 - pip, with requirements that were parsed
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        late = threading.Timer(_SECONDS, _end, (process,))
        late.start()
        try:
            assert process.stdout is not None
            for text in process.stdout:
                kept.append(text.rstrip())
                line(text.strip())
            code = process.wait()
        finally:
            is_late = not late.is_alive()
            late.cancel()
            _end(process)
            if process.stdout is not None:
                process.stdout.close()
    if is_late:
        raise ImageError(f"the packages did not arrive within {_SECONDS:g} s")
    if not code:
        return ""
    said = "\n".join(kept) or "pip says nothing"
    if secret := source.password.reveal():
        said = said.replace(secret, "****").replace(quote(secret, safe=""), "****")
    return said


def _end(process: subprocess.Popen[str]) -> None:
    """End pip and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def configured(source: Source, folder: Path) -> Iterator[dict[str, str]]:
    """The environment of pip, with a configuration of its own where the source names an index."""
    environment = {name: value for name, value in source.environment.items() if name not in _WITHHELD}
    environment |= {"PIP_NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
    told = []
    if source.url:
        environment = {
            k: v for k, v in environment.items() if k not in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
        }
        told.append(f"index-url = {_address(source)}")
    if source.ca is not None:
        environment.pop("PIP_CERT", None)
        told.append(f"cert = {source.ca}")
    if not told:
        yield environment
        return
    file = folder / ".pip.conf"
    with open(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as out:  # noqa: PTH123 - by its number
        # A percent sign is configparser's, though pip turns that off: both spellings would differ there.
        out.write("\n".join(["[global]", *told, ""]))
    try:
        yield {**environment, "PIP_CONFIG_FILE": str(file)}
    finally:
        file.unlink(missing_ok=True)


def _address(source: Source) -> str:
    """The index's address with its user and password."""
    if not source.user:
        return source.url
    parts = urlsplit(source.url)
    keys = f"{quote(source.user, safe='')}:{quote(source.password.reveal(), safe='')}"
    return parts._replace(netloc=f"{keys}@{parts.netloc.rpartition('@')[2]}").geturl()


def _name(line: str) -> str:
    return normal(line.partition("==")[0])


def _pin(line: str) -> str:
    """`name==1.0`, as messages call a requirement."""
    return line.partition(" ")[0]


def _of(line: str, folder: Path) -> Path:
    """The wheel of a requirement among those that came."""
    for path in sorted(folder.glob("*.whl")):
        if normal(path.name.split("-")[0]) == _name(line):
            return path
    raise ImageError(f"{_pin(line)} did not come, though pip had no complaint")


def _choice(line: str, target: Target, cache: Path) -> Path:
    asked = hashlib.sha256(json.dumps([line, target.python, str(target.platform)]).encode()).hexdigest()
    return cache / "choices" / f"{asked}.json"


def _kept(line: str, target: Target, cache: Path) -> Wheel | None:
    """The wheel that was chosen before, if it is still what it was."""
    try:
        told = json.loads(_choice(line, target, cache).read_text())
        path = cache / str(told["sha256"]) / str(told["file"])
        if _sha256(path) != told["sha256"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _wheel(path, str(told["sha256"]))


def _keep(line: str, target: Target, cache: Path, came: Path) -> Wheel:
    digest = _sha256(came)
    place = _made(cache / digest) / came.name
    came.replace(place)
    choice = _choice(line, target, cache)
    _made(choice.parent)
    part = choice.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    part.write_text(json.dumps({"sha256": digest, "file": came.name}))
    part.replace(choice)
    return _wheel(place, digest)


def _wheel(path: Path, digest: str) -> Wheel:
    name, version = path.name.split("-")[:2]
    return Wheel(name=normal(name), version=version, path=path, digest=f"sha256:{digest}")


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
