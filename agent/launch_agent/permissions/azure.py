"""Role assignments of Azure: for the registry and for the build contexts.

The names of the roles are Azure's own and are never translated. The documents name `AcrPush` for kaniko
alone; the docker builder, and any other that pushes, needs it as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from launch_agent.permissions import Cloud, Document, Grant, Needs

PUSH, CONTEXTS = "AcrPush", "Storage Blob Data Contributor"
_GROUP = "/subscriptions/<SUBSCRIPTION-ID>/resourceGroups/<RESOURCE-GROUP>/providers"


def documents(needs: Needs) -> list[Document]:
    """The assignments that a config needs; empty for what has no part in Azure."""
    return list(_documents(needs))


def _documents(needs: Needs) -> Iterator[Document]:
    builder = needs.config.builder
    if builder.registry == "acr":
        name = builder.destination.partition("/")[0].partition(".")[0]
        yield _assignment(
            "push-images",
            "for the agent's identity, and for that of its build pods, on the registry",
            Grant(
                name=PUSH,
                on=f"{_GROUP}/Microsoft.ContainerRegistry/registries/{name}",
                why="push, and see whether an image is there already",
                requirement="ACR-3",
            ),
            "The role is needed whichever builder pushes.",
        )
    store = urlsplit(str(builder.options.get("build-context-store", "")))
    if ".blob." in store.netloc:
        account = store.netloc.partition(".")[0]
        container = store.path.strip("/").partition("/")[0]
        of_account = f"{_GROUP}/Microsoft.Storage/storageAccounts/{account}"
        scope = f"{of_account}/blobServices/default/containers/{container}"
        yield _assignment(
            "build-contexts",
            "for the agent's identity, on the container",
            Grant(
                name=CONTEXTS, on=scope, why="put, read, list and delete build contexts", requirement="BLOB-1"
            ),
            "It is not needed where the agent has the account's access key (azureStorageAccessKey of the "
            "chart), without which kaniko cannot read its context.",
        )


def _assignment(name: str, purpose: str, grant: Grant, note: str) -> Document:
    body: dict[str, Any] = {
        "roleAssignments": [
            {"roleDefinitionName": grant.name, "scope": grant.on, "principalId": "<PRINCIPAL-ID>"}
        ]
    }
    command = f"az role assignment create --role '{grant.name}' --assignee <PRINCIPAL-ID> --scope {grant.on}"
    return Document(
        cloud=Cloud.AZURE,
        name=name,
        purpose=purpose,
        body=body,
        grants=[grant],
        notes=[note, f"The command is: {command}"],
    )
