"""Gets in: answers a registry's challenge with the right header, and keeps tokens while they are good.

A registry that wants credentials answers 401 and says how (`WWW-Authenticate`): `Basic`, or `Bearer` with the
address of a token server and what to ask of it (distribution's token and OAuth2 specifications, RFC 6750). A
token is good for some scopes and minutes; one is kept for each set of scopes and renewed before it ends.

Pitfalls: a token server may lie on another host, and credentials go there because the registry says so; they
never go from an encrypted registry to an unencrypted token server. Servers name the token `token` or
`access_token`, and a lifetime that is not told is 60 seconds.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from launch_agent.clients.http import HttpClient, NoAnswer, Response, Retry
from launch_agent.clients.oci import faults
from launch_agent.clients.oci.dockerconfig import TOKEN_USER
from launch_agent.errors import RegistryDenied, RegistryError, RegistryUnavailable
from launch_agent.spec.model import Credentials

_RETRY = Retry(attempts=4, budget=30.0)
_DEFAULT_LIFETIME = 60.0
# What is about to end while a request is on its way is no use.
_MARGIN = 10.0
# A token server that says "a year" is asked again tomorrow.
_LONGEST = 24 * 3600.0
_PARAMETER = re.compile(r'([a-zA-Z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"(?:^|,)\s*(basic|bearer)\b", re.IGNORECASE)
_CLIENT = "launch-agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a registry wants. `realm` is empty for Basic."""

    realm: str = ""
    service: str = ""
    scope: str = ""

    @classmethod
    def parse(cls, header: str) -> Challenge | None:
        """The challenge in `WWW-Authenticate`; Bearer where both are offered, None where neither is."""
        found = {each[1].lower(): each for each in _SCHEME.finditer(header)}
        if "bearer" in found:
            begin = found["bearer"].end()
            later = [each.start() for each in found.values() if each.start() > begin]
            parameters = header[begin : min(later, default=len(header))]
            values = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(parameters)}
            if values.get("realm"):
                return cls(
                    realm=values["realm"], service=values.get("service", ""), scope=values.get("scope", "")
                )
        return cls() if "basic" in found else None


class Keys:
    """The `Authorization` header for requests to one registry; safe to use from several threads.

    `credentials` is asked whenever a header has to be made anew: it keeps what may be kept. `clock` is
    monotonic.
    """

    def __init__(
        self,
        host: str,
        credentials: Callable[[], Credentials | None],
        http: HttpClient,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._credentials = credentials
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._fetching = threading.Lock()
        self._challenge: Challenge | None = None
        self._tokens: dict[frozenset[str], tuple[str, float]] = {}

    @property
    def is_anonymous(self) -> bool:
        return self._credentials() is None

    def header(self, scopes: Iterable[str]) -> str:
        """What to send; empty where the registry has not asked for anything yet. Raises RegistryError."""
        challenge = self._challenge
        if challenge is None:
            return ""
        if not challenge.realm:
            return self._basic()
        wanted = frozenset(scopes)
        if kept := self._kept(wanted):
            return f"Bearer {kept}"
        # Many threads begin a push at once; one of them asks for the token.
        with self._fetching:
            if kept := self._kept(wanted):
                return f"Bearer {kept}"
            token, ends = self._fetch(challenge, wanted)
            with self._lock:
                self._tokens[wanted] = (token, ends)
        return f"Bearer {token}"

    def _kept(self, scopes: frozenset[str]) -> str:
        with self._lock:
            token, ends = self._tokens.get(scopes, ("", 0.0))
        return token if self._clock() < ends else ""

    def learn(self, answer: Response, scopes: Iterable[str], *, is_plain: bool) -> bool:
        """Take a 401's challenge; True where another try has better chances. `is_plain` says that the
        registry itself is spoken to without TLS. Raises RegistryDenied for a challenge to refuse."""
        challenge = Challenge.parse(answer.headers.get("www-authenticate", ""))
        if challenge is None:
            return False
        if challenge.realm:
            self._check_realm(challenge.realm, is_plain=is_plain)
        # The scope belongs to the one request; who asks says what it needs.
        known = Challenge(realm=challenge.realm, service=challenge.service)
        with self._lock:
            self._tokens.pop(frozenset(scopes), None)
            self._challenge = known
        return bool(challenge.realm) or not self.is_anonymous

    def _check_realm(self, realm: str, *, is_plain: bool) -> None:
        address = urlsplit(realm)
        if address.scheme not in ("https", "http") or not address.hostname:
            raise RegistryError(f"{self._host} sends us to the token server {realm!r}, which is no address")
        if address.scheme == "http" and not is_plain and not self.is_anonymous:
            raise RegistryDenied(
                f"{self._host} wants its credentials sent to {realm} unencrypted",
                hint="the registry's realm must be an https:// address",
            )

    def _basic(self) -> str:
        credentials = self._credentials()
        return basic(credentials) if credentials is not None else ""

    def _fetch(self, challenge: Challenge, scopes: frozenset[str]) -> tuple[str, float]:
        credentials = self._credentials()
        began = self._clock()
        try:
            answer = self._ask(challenge, sorted(scopes), credentials)
        except NoAnswer as error:
            raise RegistryUnavailable(
                f"cannot log in to {self._host}: no answer from its token server {challenge.realm}: "
                f"{error.reason}"
            ) from error
        doing = f"log in to {self._host} at {challenge.realm}"
        if answer.status != 200:
            raise faults.refusal(
                doing,
                "the token server",
                answer,
                anonymous=credentials is None,
                pushing=any("push" in scope for scope in scopes),
            )
        try:
            document = answer.json()
            token = str(document.get("token") or document.get("access_token") or "")
            lifetime = float(document.get("expires_in") or _DEFAULT_LIFETIME)
        except (ValueError, TypeError, AttributeError) as error:
            raise RegistryError(f"cannot {doing}: its answer is not a token: {answer.excerpt(80)}") from error
        if not token or any(each.isspace() for each in token):
            raise RegistryError(f"cannot {doing}: its answer holds no token")
        # Half of a short life: a clock that is a little off must not make every token look ended.
        kept = min(max(lifetime - _MARGIN, lifetime / 2), _LONGEST)
        return token, began + kept

    def _ask(self, challenge: Challenge, scopes: list[str], credentials: Credentials | None) -> Response:
        service = [("service", challenge.service)] if challenge.service else []
        if credentials is not None and credentials.username == TOKEN_USER:
            form = [
                ("grant_type", "refresh_token"),
                *service,
                ("client_id", _CLIENT),
                ("scope", " ".join(scopes)),
                ("refresh_token", credentials.password.reveal()),
            ]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            body = urlencode(form).encode()
            return self._http.request("POST", challenge.realm, headers=headers, body=body, retry=_RETRY)
        query = urlencode([*service, *(("scope", scope) for scope in scopes)])
        headers = {"Authorization": basic(credentials)} if credentials is not None else {}
        joined = f"{challenge.realm}{'&' if '?' in challenge.realm else '?'}{query}"
        return self._http.request("GET", joined, headers=headers, retry=_RETRY)


def basic(credentials: Credentials) -> str:
    """HTTP's basic authentication."""
    pair = f"{credentials.username}:{credentials.password.reveal()}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
