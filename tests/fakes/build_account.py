"""A service account that may do what builds by Jobs need, and no more, as a builder connects with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from launch_agent.clients.kube import access
from launch_agent.clients.kube.api import KubeApi
from tests.fakes.cluster_site import give_rights
from tests.fakes.kube import Kube

# Exactly the rights that `verify` asks for, and to read of events why a pod cannot be made.
RULES = (
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
)


def connector(kube: Kube, namespace: str, folder: Path) -> Callable[[], KubeApi]:
    """Makes the account in a namespace; `folder` gets its token."""
    give_rights(kube, namespace, "builder", [dict(rule) for rule in RULES])
    account = folder / "account"
    account.mkdir()
    (account / "token").write_text(kube.token(namespace, "builder"))
    (account / "ca.crt").write_bytes(kube.authority.read_bytes())
    (account / "namespace").write_text(namespace)
    host, _, port = kube.url.removeprefix("https://").partition(":")
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    return lambda: KubeApi(access.in_pod(environment, account), qps=100, burst=100, timeout=20)
