"""Where a Git repository is: every form of address that a job may carry, taken apart once.

    https://host/owner/repo(.git)                  HTTPS
    ssh://[user@]host[:port]/owner/repo            SSH; so is git+ssh://
    [user@]host:owner/repo                         SSH, in the form of scp
    https://host/owner/repo/tree/<ref>/<folder>    a page of GitHub; /blob/<ref>/<file> and /commit/<id> too
    https://host/group/repo/-/tree/<ref>/<folder>  the same of GitLab
    https://host/owner/repo/src/<ref>/<folder>     the same of Bitbucket
    <any of the first three>#<ref>[:<folder>]      the form of `docker build`

Anything else is refused: `file://`, `git://`, `http://`, `ext::` and paths read this machine, run programs,
or can be changed on their way. So is whatever Git or ssh could take for an option. A password in the address
is taken out: it must not reach a command line or an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, unquote, urlsplit

from launch_agent.errors import SourceError
from launch_agent.spec.secret import Secret

_LONGEST = 4096
_CONTROL = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:]+\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SCP = re.compile(r"(?:(?P<user>[^@/:]+)@)?(?P<host>\[[^\]]*\]|[^:/@\[\]]+):(?P<path>.+)", re.DOTALL)
_SCHEMES = {
    "https": "https", "git+https": "https", "ssh": "ssh", "git+ssh": "ssh", "ssh+git": "ssh",
}  # fmt: skip
# owner/repo, then what makes the rest a page: GitHub's and Bitbucket's words, GitLab's after a dash.
_PAGE = re.compile(r"(?P<repo>/[^/]+/[^/]+)/(?P<kind>tree|blob|commit|src)/(?P<rest>.+)")
_GITLAB_PAGE = re.compile(r"(?P<repo>/.+?)/-/(?P<kind>tree|blob|commit)/(?P<rest>.+)")
HINT = "a job's repository is https://host/path, ssh://user@host/path or user@host:path"


class Protocol(StrEnum):
    """How a repository is reached; its address alone decides."""

    HTTPS = "https"
    SSH = "ssh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A repository's address. `url` is what Git gets; it holds no password.

    `place` is ref and path of a page, which only the repository can tell apart (a branch may be called
    `feature/x`); `ref` and `subdirectory` are what was told apart by the address itself. `is_file` says that
    the place ends in a file. `username` and `password` are those of an HTTPS address, `password` is empty
    where there was none.
    """

    url: str
    protocol: Protocol
    host: str
    ref: str = ""
    subdirectory: str = ""
    place: str = ""
    is_file: bool = False
    username: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))

    @classmethod
    def parse(cls, text: str) -> Remote:
        """Raises SourceError saying what is wrong, without showing a password."""
        text = text.strip()
        if not text or len(text) > _LONGEST or _CONTROL.search(text):
            raise _wrong(text, "it is empty, too long, or holds blanks, backslashes or control characters")
        if text.startswith("-"):
            raise _wrong(text, "it begins with a dash, as an option does")
        if "::" in text.split("/", maxsplit=1)[0] and not text.startswith("["):
            raise _wrong(text, "it asks Git to run another program")
        if "://" in text:
            return _of_url(text)
        return _of_scp(text)

    def __str__(self) -> str:
        return self.url


def redacted(text: str) -> str:
    """A text without what stands before the @ of the URLs in it."""
    return re.sub(r"(\w://)[^/@\s'\"]*@", r"\1", text)


def _of_url(text: str) -> Remote:
    address, _, fragment = text.partition("#")
    scheme = _SCHEMES.get(address.partition("://")[0].lower())
    if scheme is None:
        raise _wrong(text, "only https and ssh are used")
    try:
        parts = urlsplit(f"{scheme}://{address.partition('://')[2]}")
        port = parts.port
    except ValueError as error:
        raise _wrong(text, str(error)) from error
    user, _, host = parts.netloc.rpartition("@")
    host = host if host.startswith("[") else host.partition(":")[0]
    host = host.partition("]")[0] + "]" if host.startswith("[") else host
    _check_host(text, host)
    if parts.query:
        raise _wrong(text, "it has a query")
    ref, _, folder = fragment.partition(":")
    place = f":{port}" if port else ""
    if scheme == "ssh":
        name = user.partition(":")[0]
        if name and not _USER.fullmatch(unquote(name)):
            raise _wrong(text, "the user name is not one")
        url = f"ssh://{name + '@' if name else ''}{host}{place}{_path(text, parts.path)}"
        return Remote(url=url, protocol=Protocol.SSH, host=host, ref=ref, subdirectory=folder)
    found = _GITLAB_PAGE.fullmatch(parts.path) or _PAGE.fullmatch(parts.path)
    page = found if found is not None and not fragment else None
    path = page["repo"] if page else parts.path
    name, _, password = user.partition(":")
    return Remote(
        url=f"https://{host}{place}{_path(text, path)}",
        protocol=Protocol.HTTPS,
        host=host,
        ref=unquote(page["rest"]) if page and page["kind"] == "commit" else ref,
        subdirectory=folder,
        place=unquote(page["rest"].strip("/")) if page and page["kind"] != "commit" else "",
        is_file=bool(page and page["kind"] == "blob"),
        username=unquote(name),
        password=Secret(unquote(password)),
    )


def _of_scp(text: str) -> Remote:
    address, _, fragment = text.partition("#")
    found = _SCP.fullmatch(address)
    if found is None:
        raise _wrong(text, "it is a path on this machine, or no address at all")
    user, host, path = found["user"] or "", found["host"], found["path"]
    if user and not _USER.fullmatch(user):
        raise _wrong(text, "the user name is not one")
    _check_host(text, host)
    if path.startswith("-"):
        raise _wrong(text, "its path begins with a dash, as an option does")
    ref, _, folder = fragment.partition(":")
    url = f"{user + '@' if user else ''}{host}:{path}"
    return Remote(url=url, protocol=Protocol.SSH, host=host, ref=ref, subdirectory=folder)


def _path(text: str, path: str) -> str:
    if not path.strip("/"):
        raise _wrong(text, "it names a host and no repository")
    return quote(path.rstrip("/"), safe="/%:~+@!$&'()*,;=")


def _check_host(text: str, host: str) -> None:
    if not _HOST.fullmatch(host):
        raise _wrong(text, f"{host[:80]!r} is not the name of a host")


def _wrong(text: str, why: str) -> SourceError:
    return SourceError(f"the Git address {redacted(text)[:200]!r} is not used: {why}", hint=HINT)
