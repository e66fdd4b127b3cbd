"""The lock of all extras -> the packages of some of them, for one Python and one platform.

`agent.lock` is made by `make lock` for every Python and platform at once: a version and the hashes of all
archives of each package, the markers by which it holds, and in the comments below it the packages that ask
for it. It travels with the agent, so an image made years later holds what was tested.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import Requirement

from launch_agent.assembly.wheels import Target, normal
from launch_agent.clients.oci.model import Platform
from launch_agent.errors import ConfigError, ImageError
from launch_agent.images.agent.plan import Package

PROJECT = "launch-agent"
FILE = "agent.lock"
_PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+))?"
)
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
# Who asks for a package, in the comments below it; files (`-c dev.lock`) do not count.
_VIA = re.compile(r"#\s+(?:via\s+)?(?P<name>[A-Za-z0-9._-]+)(?:\s+\(.*\))?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A package of the lock; `marker` is empty where it always holds, `wanted_by` are normalised names."""

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str = ""
    wanted_by: tuple[str, ...] = ()

    def holds(self, environment: Mapping[str, str]) -> bool:
        return not self.marker or Marker(self.marker).evaluate(dict(environment))


def read(file: Path | None = None) -> Sequence[Entry]:
    """The lock that this agent came with. Raises ImageError where it is damaged."""
    file = file or Path(__file__).with_name(FILE)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ImageError(
            f"the lock of the agent's packages cannot be read: {error}", hint="install launch-agent again"
        ) from error
    entries = [_entry(block) for block in re.split(r"\n(?=[^\s#])", text) if block.strip()]
    if not entries:
        raise ImageError(f"{file} locks no package", hint="install launch-agent again")
    return entries


def extras() -> Mapping[str, Sequence[Requirement]]:
    """What the agent itself asks for: under `""` always, else by extra; extras of its own are followed."""
    found: dict[str, list[Requirement]] = {"": []}
    for name in metadata.metadata(PROJECT).get_all("Provides-Extra") or ():
        found[name] = []
    for text in metadata.requires(PROJECT) or ():
        requirement = Requirement(text)
        named = [name for name in found if name and _asks(requirement, name)]
        for name in named or [""]:
            found[name].append(requirement)
    return found


def subset(
    wanted: Collection[str],
    python: str,
    platform: str,
    *,
    omit: Collection[str] = (),
    entries: Sequence[Entry] | None = None,
) -> list[Package]:
    """The packages of the agent with these extras, sorted by name, without the agent itself.

    `omit` are packages that are left out, and with them what only they ask for. Raises ConfigError for an
    extra that there is not, ImageError where the lock lacks a package.
    """
    target = Target(python=python, platform=Platform.parse(platform)).environment()
    by_name: dict[str, Entry] = {}
    for entry in read() if entries is None else entries:
        if entry.holds(target) and entry.name not in omit:
            by_name[entry.name] = entry
    reasons: dict[str, set[str]] = {}
    for extra, names in _roots(wanted, target).items():
        for name in sorted(names - set(omit)):
            if name not in by_name:
                raise ImageError(
                    f"the lock of the agent's packages has no {name} for Python {python} on {platform}",
                    hint="run 'make lock' after a change of pyproject.toml",
                )
            reasons.setdefault(name, set()).add(extra)
    _follow(reasons, by_name)
    return [
        Package(
            name=name,
            version=by_name[name].version,
            hashes=by_name[name].hashes,
            why=tuple(sorted(reasons[name])),
        )
        for name in sorted(reasons)
    ]


def for_platforms(platforms: Sequence[str], of: Callable[[str], Sequence[Package]]) -> tuple[Package, ...]:
    """The packages of several platforms as one list: those that are not for all of them say for which."""
    on: dict[tuple[str, str], list[str]] = {}
    known: dict[tuple[str, str], Package] = {}
    for platform in platforms:
        for package in of(platform):
            key = (package.name, package.version)
            on.setdefault(key, []).append(platform)
            before = known.setdefault(key, package)
            hashes = dict.fromkeys((*before.hashes, *package.hashes))
            known[key] = replace(before, hashes=tuple(hashes))
    return tuple(
        known[key] if len(on[key]) == len(platforms) else replace(known[key], platforms=tuple(on[key]))
        for key in sorted(known)
    )


def _roots(wanted: Collection[str], environment: Mapping[str, str]) -> dict[str, set[str]]:
    """The packages that the agent asks for itself, by what it asks for them."""
    all_extras = extras()
    if unknown := sorted(set(wanted) - all_extras.keys()):
        raise ConfigError(
            f"the agent has no extra {unknown[0]!r}",
            hint=f"choose of {', '.join(sorted(filter(None, all_extras)))}",
        )
    found: dict[str, set[str]] = {}
    for extra in ("", *sorted(wanted)):
        told = {**environment, "extra": extra}
        for requirement in all_extras[extra]:
            if requirement.marker is not None and not requirement.marker.evaluate(told):
                continue
            if normal(requirement.name) == PROJECT:
                for names in _roots(requirement.extras, environment).values():
                    found.setdefault(extra, set()).update(names)
            else:
                found.setdefault(extra, set()).add(normal(requirement.name))
    return {f"extra {extra}" if extra else "the agent": names for extra, names in found.items()}


def _follow(reasons: dict[str, set[str]], by_name: Mapping[str, Entry]) -> None:
    """Add what the packages ask for, and what these ask for, until nothing is new."""
    asks: dict[str, list[str]] = {}
    for entry in by_name.values():
        for parent in entry.wanted_by:
            asks.setdefault(parent, []).append(entry.name)
    waiting = sorted(reasons)
    while waiting:
        parent = waiting.pop()
        for child in asks.get(parent, ()):
            if child not in reasons:
                waiting.append(child)
            reasons.setdefault(child, set()).add(parent)


def _asks(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement is one of an extra: its marker names it."""
    return requirement.marker is not None and bool(
        re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", str(requirement.marker))
    )


def _entry(block: str) -> Entry:
    head = _PINNED.match(block)
    hashes = tuple(_HASH.findall(block))
    if head is None or not hashes:
        raise ImageError(f"the lock of the agent's packages is damaged near {block[:60]!r}")
    marker = (head["marker"] or "").strip()
    try:
        if marker:
            Marker(marker)
    except InvalidMarker as error:
        raise ImageError(f"the lock of the agent's packages has a marker that is none: {marker!r}") from error
    return Entry(
        name=normal(head["name"]),
        version=head["version"],
        hashes=hashes,
        marker=marker,
        wanted_by=tuple(_parents(block)),
    )


def _parents(block: str) -> Iterator[str]:
    for line in block.splitlines():
        if (found := _VIA.fullmatch(line.strip())) and found["name"] != "via":
            name = normal(found["name"])
            if name != PROJECT:
                yield name
