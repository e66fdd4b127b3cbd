"""Azure as the agent may use it: what `DefaultAzureCredential` finds, in any of Azure's clouds.

The search is: environment variables, workload identity (AKS), managed identity, and the tools of a developer.
`AZURE_AUTHORITY_HOST` names the cloud (Government, China), as everywhere in the SDK.

Pitfall: the search logs every step that finds nothing as a warning, and its error lists them all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential

from launch_agent.clients.cloud_faults import Cause, understand
from launch_agent.errors import CloudError
from launch_agent.spec.podpatch import PodPatch

# Any token tells whether there is an identity; this service is asked for one in every cloud.
_SCOPES = {
    "login.microsoftonline.us": "https://management.usgovcloudapi.net/.default",
    "login.chinacloudapi.cn": "https://management.chinacloudapi.cn/.default",
}
_SCOPE = "https://management.azure.com/.default"
_CONNECT, _READ, _PROCESS = 10, 30, 20
_WAYS = (
    "give the agent's pod a workload identity (AKS), or credentials as azure-identity reads them "
    "(AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET; a managed identity; az login)"
)
_NETWORK = "can the agent reach its cloud's login host?"
# What the label means: the workload identity webhook injects a federated token into the pod.
_LABEL = "azure.workload.identity/use"


class AzureEnvironment:
    """Needs no key at all: subscription and registry are told by the addresses of what is used."""

    type = "azure"
    region = ""
    project = ""

    def __init__(self, authority: str = "") -> None:
        self._authority = authority

    def session(self) -> DefaultAzureCredential:
        """A fresh credential; it asks for nothing before its first token."""
        more = {"authority": self._authority} if self._authority else {}
        return DefaultAzureCredential(
            exclude_interactive_browser_credential=True,
            process_timeout=_PROCESS,
            connection_timeout=_CONNECT,
            read_timeout=_READ,
            retry_total=3,
            **more,
        )

    def verify(self) -> None:
        """Ask for a token, which needs no role. Raises CloudError."""
        host = self._authority.removeprefix("https://").strip("/")
        with self.session() as credential:
            try:
                credential.get_token(_SCOPES.get(host, _SCOPE))
            except (AzureError, ValueError) as error:
                fault = understand(error)
                unreachable = fault.cause is Cause.UNREACHABLE
                raise CloudError(
                    f"cannot get a token of Azure: {_short(fault.message)}",
                    hint=_NETWORK if unreachable else _WAYS,
                    retryable=fault.is_retryable,
                ) from error

    def build_pod(self) -> PodPatch:
        """The label with which AKS gives a pod its service account's identity."""
        return PodPatch(labels={_LABEL: "true"})


def _short(message: str) -> str:
    """The first reason of a list that names every way that was tried."""
    return message.partition(" Attempted credentials:")[0]


def create(options: Mapping[str, Any]) -> AzureEnvironment:
    """`options` is the config's `environment` part; nothing in it is needed."""
    return AzureEnvironment(os.environ.get("AZURE_AUTHORITY_HOST", ""))
