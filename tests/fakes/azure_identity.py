"""Azure's managed identity endpoint, in the form that App Service has: HTTP at any address."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

from tests.fakes.loopback import Loopback, Reply, Request

HEADER = "a-header-that-proves-the-caller"


class AzureIdentity(Loopback):
    """`variables` lead azure-identity here; `asked` lists the services that tokens were wanted for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.absent = False
        super().__init__(self._token)
        self.variables = {
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": HEADER,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        }

    def _token(self, request: Request) -> Reply:
        if request.headers.get("x-identity-header") != HEADER:
            return Reply.of({"message": "who asks?"}, status=401)
        if self.absent:
            return Reply.of({"statusCode": 400, "message": "no identity is assigned"}, status=400)
        (resource,) = parse_qs(urlsplit(request.path).query)["resource"]
        self.asked.append(resource)
        return Reply.of(
            {
                "access_token": f"aad-token-for-{resource}",
                "expires_on": str(int(time.time()) + 3600),
                "resource": resource,
                "token_type": "Bearer",
            }
        )
