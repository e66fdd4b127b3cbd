"""What pip's last words mean, and what its user can do about it.

Pitfall: an index that cannot be reached and a package that has no wheel end with the same line; only the
warnings before it tell them apart.
"""

from __future__ import annotations

import re

from launch_agent.errors import ImageError

_NO_WHEEL = re.compile(r"No matching distribution found for (?P<what>[^\s(;]+)")
_BAD_HASH = re.compile(r"THESE PACKAGES DO NOT MATCH THE HASHES|HASHES ARE REQUIRED")
_FULL = re.compile(r"No space left on device|Disk quota exceeded|Errno 28")
_DENIED = re.compile(
    r"\b(?P<status>401|403) (?:Client )?Error|HTTP error (?P<code>401|403)|Credentials not correct"
)
# A page that is not there (404) is how an index says that it has no such package.
_BROKEN = re.compile(
    r"after connection broken by '\w+\((?P<what>.*?)\)'(?=: /|$)"
    r"|Could not fetch URL \S+: (?!404 )(?P<why>.+?) - skipping",
    re.MULTILINE,
)
_CAUSE = re.compile(r"\(Caused by \w+\((?P<cause>.*)\)\)$")
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed")
_NO_PIP = re.compile(r"No module named pip\b")
_WHERE = "pip's own configuration says where it looks (PIP_INDEX_URL, PIP_CERT, HTTPS_PROXY), or --index"


def without_wheel(said: str) -> str:
    """The package that has no wheel; empty where pip fails for another reason."""
    if _BROKEN.search(said) or _DENIED.search(said) or _FULL.search(said):
        return ""
    found = _NO_WHEEL.search(said)
    return found["what"] if found else ""


def failure(said: str, platform: str, python: str) -> ImageError:
    """The error that a user understands."""
    if _FULL.search(said):
        return ImageError(
            "the packages cannot be fetched: there is no room on the disk",
            hint="make room, or set XDG_CACHE_HOME and TMPDIR to folders with room",
        )
    if _BAD_HASH.search(said):
        return ImageError(
            "a package is not the one that the lock names: its hash differs",
            hint="is the index to be trusted?",
        )
    if found := _DENIED.search(said):
        status = found["status"] or found["code"] or "401"
        return ImageError(
            f"the packages cannot be fetched: the index denies it (status {status})",
            hint="check the index's user and password",
        )
    if _UNTRUSTED.search(said):
        return ImageError(
            "the packages cannot be fetched: the certificate of the index is not trusted",
            hint="name the authority's certificate with --index-ca, or PIP_CERT",
        )
    if found := _BROKEN.search(said):
        why = found["what"] or found["why"] or ""
        if cause := _CAUSE.search(why):
            why = cause["cause"]
        why = why.rpartition(": ")[2].strip("'\" ")
        return ImageError(f"the packages cannot be fetched: the index does not answer: {why}", hint=_WHERE)
    if what := without_wheel(said):
        return ImageError(
            f"{what} has no wheel for Python {python} on {platform} at the index",
            hint="build the image on that platform with --with-build, or leave the feature out that needs it",
        )
    if _NO_PIP.search(said):
        return ImageError("packages are fetched by pip, which is not installed here", hint="pip install pip")
    return ImageError(f"the packages cannot be fetched: {last(said)}", hint=_WHERE)


def last(said: str) -> str:
    """The last line that says something, `ERROR:` before others."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["pip says nothing"])[-1][:300]
