"""Requests to one registry: the right address, the right key, patience, and errors that a user understands.

An address with a scheme is not part of a reference, so it is found out: HTTPS always, except on a loopback
host or where the config allows plain HTTP; there HTTPS is tried first, as Docker does.

Pitfalls: blobs are often answered with a redirect to a store or CDN that refuses requests with an
`Authorization` header, and must not see ours in any case; it goes to the registry's own origin only. A proxy
that ends TLS makes registries hand out `http://` addresses of themselves; they are taken as `https://`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from urllib.parse import urljoin, urlsplit

from launch_agent.clients.http import HttpClient, HttpSettings, NoAnswer, Response, Retry, Stream
from launch_agent.clients.oci import faults
from launch_agent.clients.oci.dockerconfig import HUB, HUB_NAMES
from launch_agent.clients.oci.tokens import Keys
from launch_agent.errors import RegistryError, RegistryUnavailable
from launch_agent.spec.model import Credentials

# Registries answer 429 for minutes where they limit; a build waits longer than that for its image.
PATIENCE = Retry(attempts=6, budget=90.0)
_PROBE = Retry(attempts=3, budget=15.0)
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_WORDS = 64 * 1024
_HUB_API = "registry-1.docker.io"


class RegistryClient:
    """Speaks to the registry at `host` (with its port); safe to use from several threads.

    `credentials` is asked at each login and keeps what may be kept; None is anonymous. `plain` allows HTTP
    where the registry has no TLS. `settings` brings timeouts, proxies and the authorities to trust.
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: Callable[[], Credentials | None] = lambda: None,
        settings: HttpSettings | None = None,
        plain: bool = False,
        clock: Callable[[], float] = time.monotonic,
        http: HttpClient | None = None,
    ) -> None:
        self.host = HUB if host in HUB_NAMES else host
        self.http = http or HttpClient(settings or HttpSettings())
        self.keys = Keys(self.host, credentials, self.http, clock=clock)
        self._api = _HUB_API if self.host == HUB else host
        self._may_be_plain = plain or is_loopback(host)
        self._lock = threading.Lock()
        self._base = "" if self._may_be_plain else f"https://{self._api}"

    def close(self) -> None:
        """Final: requests in flight end at once."""
        self.http.close()

    def url(self, path: str) -> str:
        """The address of a path of the API. May ask the registry which scheme it speaks."""
        with self._lock:
            if not self._base:
                self._base = self._find_base()
            return urljoin(self._base, path)

    def ping(self, scopes: Sequence[str] = ()) -> None:
        """Raise RegistryError where there is no registry, or it does not take our credentials."""
        doing = f"reach the registry {self.host}"
        answer = self.request(doing, "GET", self.url("/v2/"), scopes=scopes)
        # 404 at this path is no registry of the second API, such as a login page's server.
        self.expect(doing, answer, 200)

    def request(
        self,
        doing: str,
        method: str,
        url: str,
        *,
        scopes: Sequence[str],
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        retry: Retry = PATIENCE,
        follow: bool = True,
        hold: float = 0.0,
    ) -> Response:
        """A whole answer, whatever its status; a 401 has been answered with our credentials. `doing` is what
        messages say (`push the manifest …`). Raises RegistryUnavailable where there is no answer."""
        for first in (True, False):
            answer = self._followed(
                doing, method, url, scopes, headers or {}, body, retry=retry, follow=follow, hold=hold
            )
            if answer.status == 401 and first and self._learn(answer, scopes):
                continue
            break
        return answer

    def anonymous(
        self, doing: str, method: str, url: str, *, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """As `request`, without our credentials: for the request that gets them."""
        try:
            return self.http.request(method, url, headers=headers, body=body, retry=PATIENCE)
        except NoAnswer as error:
            raise self.unanswered(doing, error) from error

    @contextlib.contextmanager
    def opened(
        self, doing: str, url: str, *, scopes: Sequence[str], headers: Mapping[str, str] | None = None
    ) -> Iterator[Stream]:
        """The answer to a GET, its body still on the wire. Follows redirects. Raises NoAnswer."""
        with contextlib.ExitStack() as stack:
            for turn in range(_MOST_REDIRECTS + 2):
                stream = stack.enter_context(
                    self.http.stream("GET", url, headers=self._headers(url, scopes, headers or {}))
                )
                if stream.status == 401 and turn == 0:
                    if not self._learn(stream.whole(_LONGEST_WORDS), scopes):
                        break
                elif stream.status in _REDIRECTS and stream.headers.get("location"):
                    url = self._next(doing, url, stream.headers["location"])
                else:
                    break
                stack.pop_all().close()
            yield stream

    def send(
        self,
        method: str,
        url: str,
        *,
        scopes: Sequence[str],
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes],
        hold: float,
    ) -> Response:
        """Send a body once, piece by piece. Raises NoAnswer; a 401 teaches the next try."""
        with self.http.stream(
            method, url, headers=self._headers(url, scopes, headers), body=body, hold=hold
        ) as stream:
            answer = stream.whole(_LONGEST_WORDS)
        if answer.status == 401:
            self._learn(answer, scopes)
        return answer

    def expect(self, doing: str, answer: Response, *statuses: int, pushing: bool = False) -> Response:
        """The answer, if its status is one of these. Raises RegistryError."""
        if answer.status in statuses:
            return answer
        raise faults.refusal(doing, self.host, answer, anonymous=self.keys.is_anonymous, pushing=pushing)

    def unanswered(self, doing: str, error: NoAnswer) -> RegistryUnavailable:
        hint = ""
        if "WRONG_VERSION_NUMBER" in error.reason:
            hint = "it speaks HTTP alone: registry.plain-http allows that, where the network may be trusted"
        elif "trusted" in error.reason:
            hint = "a private authority is trusted if SSL_CERT_FILE names its certificate"
        elif "resolved" in error.reason or "refused" in error.reason:
            hint = "check the registry's address, and the proxy settings"
        return RegistryUnavailable(f"cannot {doing}: {error.reason}", hint=hint)

    def locate(self, url: str, location: str) -> str:
        """What a Location header means, seen from the request's address."""
        target = urljoin(url, location)
        asked, given = urlsplit(url), urlsplit(target)
        if asked.scheme == "https" and given.scheme == "http" and given.hostname == asked.hostname:
            return given._replace(scheme="https", netloc=asked.netloc).geturl()
        return target

    def _learn(self, answer: Response, scopes: Sequence[str]) -> bool:
        return self.keys.learn(answer, scopes, is_plain=urlsplit(self.url("/")).scheme == "http")

    def _followed(
        self,
        doing: str,
        method: str,
        url: str,
        scopes: Sequence[str],
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        retry: Retry,
        follow: bool,
        hold: float,
    ) -> Response:
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                answer = self.http.request(
                    method,
                    url,
                    headers=self._headers(url, scopes, headers),
                    body=body,
                    retry=retry,
                    hold=hold,
                )
            except NoAnswer as error:
                raise self.unanswered(doing, error) from error
            if not (follow and answer.status in _REDIRECTS and answer.headers.get("location")):
                return answer
            url = self._next(doing, url, answer.headers["location"])
        raise RegistryError(f"cannot {doing}: {self.host} redirects more than {_MOST_REDIRECTS} times")

    def _next(self, doing: str, url: str, location: str) -> str:
        """Where a redirect leads. Never from an encrypted address to an open one: what is signed in an
        address, and the image, would be there for all to see."""
        target = self.locate(url, location)
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
            place = urlsplit(target).netloc
            raise RegistryError(f"cannot {doing}: {self.host} redirects to {place} without encryption")
        return target

    def _headers(self, url: str, scopes: Sequence[str], headers: Mapping[str, str]) -> dict[str, str]:
        own = urlsplit(self.url("/"))
        target = urlsplit(url)
        is_own = (target.scheme, target.netloc) == (own.scheme, own.netloc)
        key = self.keys.header(scopes) if is_own else ""
        return {**headers, "Authorization": key} if key else dict(headers)

    def _find_base(self) -> str:
        doing = f"reach the registry {self.host}"
        for scheme in ("https", "http"):
            base = f"{scheme}://{self._api}"
            try:
                self.http.request("GET", f"{base}/v2/", retry=_PROBE if scheme == "http" else Retry())
            except NoAnswer as error:
                # A certificate that we do not trust is no sign of a registry without TLS.
                if scheme == "https" and "CERTIFICATE" not in error.reason:
                    continue
                raise self.unanswered(doing, error) from error
            else:
                return base
        raise AssertionError("the second turn returns or raises")


def is_loopback(host: str) -> bool:
    """Whether a host (with or without a port) is this machine, where nobody listens on the way."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
