"""Finds the one commit that a branch, a tag, a commit id (whole or short) or a page's address names.

The server's list of branches and tags is asked first; then that commit alone is fetched. Where the server
does not hand out a commit by its id, the branch or tag that ends in it is fetched, and at last everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from launch_agent.errors import SourceError, SourceNotFound
from launch_agent.sources.git.command import Git

_FULL = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT = re.compile(r"[0-9a-f]{4,63}")
# What Git allows in a ref's name (git-check-ref-format), and no glob or revision syntax.
_NAME = re.compile(r"(?!/)(?!.*(?:\.\.|//|@\{|\.lock(?:/|$)))[^\x00-\x20\x7f~^:?*\[\\]{1,250}(?<![/.])")
_PREFIXES = ("refs/heads/", "refs/tags/", "refs/", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be checked out. `ref` is the name that the server knows it by, empty where it has none;
    `path` is what was left of a page's address."""

    commit: str
    ref: str = ""
    path: str = ""


def resolve(git: Git, *, ref: str, place: str) -> Target:
    """The commit that is meant; with neither `ref` nor `place` the one that HEAD names.

    A name wins over a commit id that looks the same. The commit of a short id is empty: only the history can
    tell. Raises SourceNotFound, or SourceError for what can be no name.
    """
    if place:
        return _split(git, place)
    if ref and (not _NAME.fullmatch(ref) or ref.startswith("-")):
        raise SourceError(
            f"{ref[:100]!r} is not the name of a branch, tag or commit", hint="check the job's version"
        )
    if _FULL.fullmatch(ref.lower()):
        return Target(commit=ref.lower())
    listed = _listed(git, [f"{prefix}{ref}" for prefix in _PREFIXES] if ref else ["HEAD"])
    if not ref:
        if "HEAD" not in listed:
            raise SourceNotFound(f"{git.what} is empty, or its HEAD names a branch that is not there")
        return Target(commit=listed["HEAD"], ref="HEAD")
    for name in (f"{prefix}{ref}" for prefix in _PREFIXES):
        if name in listed:
            return Target(commit=listed[name], ref=name)
    if _SHORT.fullmatch(ref.lower()):
        return _advertised(git, ref.lower())
    raise SourceNotFound(
        f"{git.what} has no branch, tag or commit {ref!r}", hint="check its spelling, and that it was pushed"
    )


def _advertised(git: Git, short: str) -> Target:
    """A short id: where one branch or tag ends in it, that is it; else the history is to be asked."""
    found = {commit: name for name, commit in _listed(git, []).items() if commit.startswith(short)}
    if len(found) > 1:
        raise SourceError(f"{short} names several commits of {git.what}", hint="give more of its digits")
    for commit, name in found.items():
        return Target(commit=commit, ref=name)
    return Target(commit="", ref=short)


def _split(git: Git, place: str) -> Target:
    """A page's address: the longest beginning of it that names a branch or tag, else a commit id."""
    candidates = list(_beginnings(place))
    first = candidates[-1]
    if _FULL.fullmatch(first):
        return Target(commit=first, path=place[len(first) + 1 :])
    patterns = [f"refs/{kind}/{name}" for name in candidates for kind in ("heads", "tags")]
    listed = _listed(git, patterns)
    for name in candidates:
        for full in (f"refs/heads/{name}", f"refs/tags/{name}"):
            if full in listed:
                return Target(commit=listed[full], ref=full, path=place[len(name) + 1 :])
    if _SHORT.fullmatch(first):
        found = _advertised(git, first)
        return Target(commit=found.commit, ref=found.ref, path=place[len(first) + 1 :])
    raise SourceNotFound(
        f"{git.what} has no branch, tag or commit that {place!r} begins with",
        hint="check the address, and that the branch was pushed",
    )


def _beginnings(place: str) -> Iterator[str]:
    """The longest first. A branch of more than ten parts is not looked for."""
    parts = place.split("/")
    for size in range(min(len(parts), 10), 0, -1):
        name = "/".join(parts[:size])
        if _NAME.fullmatch(name) and not name.startswith("-"):
            yield name
        elif size == 1:
            raise SourceError(f"{name[:100]!r} is not the name of a branch, tag or commit")


def _listed(git: Git, patterns: list[str]) -> Mapping[str, str]:
    """Names and commits as the server lists them; an annotated tag counts as the commit that it marks."""
    # Given ^{} as well: a pattern is matched against the end of a name, and the peeled one has an end more.
    asked = [each for name in patterns for each in (name, f"{name}^{{}}")]
    text = git.run("ls-remote", "--quiet", "--", "origin", *asked, doing="listing the branches")
    found: dict[str, str] = {}
    for line in text.splitlines():
        commit, _, name = line.partition("\t")
        if not _FULL.fullmatch(commit):
            continue
        if name.endswith("^{}"):
            found[name.removesuffix("^{}")] = commit
        else:
            found.setdefault(name, commit)
    return found
