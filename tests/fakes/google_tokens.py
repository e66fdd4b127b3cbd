"""Google's token endpoint as far as service account keys use it, and a key that points there."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.loopback import Loopback, Reply, Request

# google-auth writes this one into every assertion, wherever it sends it.
_AUDIENCE = "https://oauth2.googleapis.com/token"


class GoogleTokens(Loopback):
    """Gives an access token for an assertion that the key signed. `lifetime` is seconds."""

    def __init__(self, folder: Path) -> None:
        self.disabled = False
        self.issued = 0
        self.lifetime = 3600
        key = rsa.generate_private_key(65537, 2048)
        self._public = key.public_key()
        super().__init__(self._grant)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        self.key_file = folder / "key.json"
        self.key_file.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": "another-project",
                    "private_key_id": "1",
                    "private_key": private.decode(),
                    "client_email": "agent@treasure.iam.gserviceaccount.com",
                    "client_id": "1",
                    "token_uri": f"{self.url}/token",
                }
            )
        )

    def _grant(self, request: Request) -> Reply:
        (assertion,) = parse_qs(request.body.decode())["assertion"]
        claims = jwt.decode(assertion, self._public, algorithms=["RS256"], audience=_AUDIENCE)
        if self.disabled or "cloud-platform" not in claims["scope"]:
            detail = {"error": "invalid_grant", "error_description": "account not found"}
            return Reply.of(detail, status=400)
        self.issued += 1
        token = {"access_token": f"ya29.{self.issued}", "expires_in": self.lifetime, "token_type": "Bearer"}
        return Reply.of(token)
