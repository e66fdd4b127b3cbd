"""A token server as a registry with `auth: token` wants one: it signs what a user may do, for a while.

The real registry checks signature, audience, times and scopes, so a client that asks for the wrong ones is
refused by it and not by this file.
"""

from __future__ import annotations

import base64
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.fakes.certificates import Certificate, make
from tests.fakes.loopback import Loopback, Raw, Reply, Request

USER, PASSWORD, REFRESH_TOKEN = "morgiana", "forty jars", "a-refresh-token"


@dataclass(kw_only=True)
class TokenServer(Loopback):
    """`rights` maps a repository to what USER may do there; `public` to what anybody may. `lifetime` is what
    the server says of its tokens, in seconds. `accepts` maps users to how their passwords begin, all of them
    being one user here; `hidden` repositories are granted to who pushes only, as GHCR does with new
    ones. `asked` lists the scopes of each request."""

    folder: Path
    rights: dict[str, set[str]]
    public: dict[str, set[str]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    accepts: dict[str, str] = field(default_factory=lambda: {USER: PASSWORD})
    lifetime: float = 60.0
    name_of_token: str = "token"
    service: str = "registry.tests"
    issuer: str = "tests"
    asked: list[list[str]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.certificate: Certificate = make(self.folder, rsa_key=True)
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Reply | Raw:
        self.methods.append(request.method)
        query = parse_qs(request.body.decode() if request.method == "POST" else urlsplit(request.path).query)
        scopes = [each for text in query.get("scope", []) for each in text.split(" ")]
        self.asked.append(scopes)
        user = self._user(request, query)
        if user is None:
            details = [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]
            return Reply.of({"errors": details}, status=401)
        access = [entry for scope in scopes if (entry := self._granted(user, scope))["actions"]]
        return Reply.of({self.name_of_token: self._sign(user, access), "expires_in": self.lifetime})

    def _user(self, request: Request, query: dict[str, list[str]]) -> str | None:
        if request.method == "POST":
            return USER if query.get("refresh_token") == [REFRESH_TOKEN] else None
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            return ""
        name, _, password = base64.b64decode(encoded).decode().partition(":")
        return USER if name in self.accepts and password.startswith(self.accepts[name]) else None

    def _granted(self, user: str, scope: str) -> dict[str, object]:
        kind, name, actions = scope.split(":")
        if name in self.hidden and "push" not in actions:
            return {"type": kind, "name": name, "actions": []}
        may = self.public.get(name, set()) | (self.rights.get(name, set()) if user else set())
        return {"type": kind, "name": name, "actions": sorted(may & set(actions.split(",")))}

    def _sign(self, user: str, access: list[dict[str, object]]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": user, "aud": self.service, "exp": now + 600, "nbf": now - 5,
            "iat": now, "jti": uuid.uuid4().hex, "access": access,
        }  # fmt: skip
        chain = [x509.load_pem_x509_certificate(self.certificate.file.read_bytes())]
        encoded = [base64.b64encode(each.public_bytes(serialization.Encoding.DER)).decode() for each in chain]
        key = self.certificate.key_file.read_bytes()
        return jwt.encode(claims, key, algorithm="RS256", headers={"x5c": encoded})
