"""Azure Container Registry: a token of Azure AD is exchanged for one of the registry, which is the password.

The exchange is the registry's own (`POST /oauth2/exchange`, Azure/acr "AAD-OAuth"); its answer is a refresh
token, good for three hours, that the registry takes as the password of a user without a name.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from azure.core.exceptions import AzureError

from launch_agent.clients.cloud_faults import understand
from launch_agent.errors import ConfigError, RegistryDenied, RegistryError, RegistryUnavailable
from launch_agent.registries import Cloud, pod
from launch_agent.registries.remote import RemoteRegistry
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret

# The user that stands for "the password is a token" (Azure's documents).
_USER = "00000000-0000-0000-0000-000000000000"
_HELPER = "acr-env"
# For what the first token must be: registries may be told to refuse those for Azure's management.
_SCOPES = {
    ".azurecr.us": "https://management.usgovcloudapi.net/.default",
    ".azurecr.cn": "https://management.chinacloudapi.cn/.default",
}
_SCOPE = "https://containerregistry.azure.net/.default"
_NOBODY = (
    "give the agent's pod a workload identity (AKS), or credentials as azure-identity reads them "
    "(AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET; a managed identity; az login)"
)
# What a token is taken to be good for that does not say.
_LIFETIME = 3600.0


class AcrRegistry(RemoteRegistry):
    """A repository of Azure's registry, nested as deep as one likes."""

    def __init__(self, uri: str, environment: Cloud, *, clock: Callable[[], float] = time.time) -> None:
        self._environment = environment
        super().__init__(uri, self._exchange, clock=clock)

    def verify(self) -> None:
        self.check(f"give the agent's identity the role AcrPush on the registry {self.host}")

    def build_pod(self) -> PodPatch:
        return pod.with_helper(self.host, _HELPER)

    def _exchange(self) -> Credentials:
        doing = f"log in to {self.host}"
        form = {"grant_type": "access_token", "service": self.host, "access_token": self._aad_token(doing)}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url, body = self.client.url("/oauth2/exchange"), urlencode(form).encode()
        answer = self.client.anonymous(doing, "POST", url, headers=headers, body=body)
        if answer.status != 200:
            kind = RegistryDenied if answer.status in (400, 401, 403) else RegistryError
            raise kind(
                f"cannot {doing}: it does not exchange the agent's token of Azure AD: {answer.excerpt()} "
                f"(status {answer.status})",
                hint=f"give the agent's identity the role AcrPush on the registry {self.host}",
            )
        try:
            token = str(answer.json()["refresh_token"])
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(f"cannot {doing}: its answer holds no refresh token") from error
        return Credentials(
            host=self.host, username=_USER, password=Secret(token), expires=_end(token, self._clock())
        )

    def _aad_token(self, doing: str) -> str:
        scope = next((text for end, text in _SCOPES.items() if self.host.endswith(end)), _SCOPE)
        try:
            with self._environment.session() as credential:
                return str(credential.get_token(scope).token)
        except (AzureError, ValueError) as error:
            fault = understand(error)
            message = f"cannot {doing}: no token of Azure AD: {fault.message}"
            if fault.is_retryable:
                raise RegistryUnavailable(message) from error
            raise RegistryDenied(message, hint=_NOBODY) from error


def _end(token: str, now: float) -> float:
    """When a token ends, as it says itself: the registry checks that, and we need it to renew in time."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return now + _LIFETIME


def create(destination: str, environment: Cloud | None, options: Mapping[str, Any]) -> AcrRegistry:
    if environment is None or environment.type != "azure":
        raise ConfigError(
            f"the registry of {destination} needs an environment of type 'azure'",
            path="environment",
            hint="write environment: {type: azure}",
        )
    return AcrRegistry(destination, environment)
