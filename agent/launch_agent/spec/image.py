"""Container image references: `host[:port]/path[:tag][@digest]`, parsed in one place.

The grammar is the one of the distribution project's `reference` package; what Docker adds to it (no host
means docker.io, one path part means `library/`) is applied by `canonical` only, so that a reference prints as
the user wrote it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from launch_agent.errors import ImageError

_HOST = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])"
    r"(?::[0-9]{1,5})?"
)
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
# No reference comes near this; it bounds the work on a text that a submitter chose.
_LONGEST_TEXT = 1024
# 255: the longest repository name that the distribution specification allows, host excluded.
_LONGEST_PATH = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """A reference to an image. `host` is empty where the text named none."""

    host: str = ""
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Raises ImageError saying which part is wrong."""
        if len(text) > _LONGEST_TEXT:
            raise _wrong(f"{text[:40]}…", f"it has {len(text)} characters, {_LONGEST_TEXT} at most")
        if "://" in text:
            raise _wrong(text, "a reference has no scheme such as https://")
        rest, at, digest = text.strip().partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise _wrong(text, f"the digest {digest!r} is not of the form sha256:<64 hex digits>")
        host, slash, path = rest.partition("/")
        if not slash or not _is_host(host):
            host, path = "", rest
        path, colon, tag = path.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise _wrong(text, f"the tag {tag!r} may have letters, digits, '_', '.' and '-', 128 at most")
        if host and not _HOST.fullmatch(host):
            raise _wrong(text, f"the registry host {host!r} is not a host name with an optional port")
        if (
            not path
            or len(path) > _LONGEST_PATH
            or not all(_PART.fullmatch(part) for part in path.split("/"))
        ):
            raise _wrong(
                text, f"the repository {path!r} may have lower-case letters, digits, '.', '_', '-' and '/'"
            )
        return cls(host=host, path=path, tag=tag, digest=digest)

    @property
    def repository(self) -> str:
        """The reference without tag and digest."""
        return f"{self.host}/{self.path}" if self.host else self.path

    def canonical(self) -> ImageRef:
        """The reference with everything filled in that Docker fills in."""
        host = "docker.io" if self.host in ("", "index.docker.io") else self.host
        path = f"library/{self.path}" if host == "docker.io" and "/" not in self.path else self.path
        return replace(self, host=host, path=path, tag=self.tag or ("" if self.digest else "latest"))

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def _is_host(text: str) -> bool:
    """Whether the part before the first slash is a host: Docker's rule, by its dot, port or name."""
    return "." in text or ":" in text or text == "localhost" or text != text.lower()


def _wrong(text: str, why: str) -> ImageError:
    hint = "the form is [host[:port]/]repository[:tag][@digest]"
    return ImageError(f"{text!r} is not an image reference: {why}", hint=hint)
