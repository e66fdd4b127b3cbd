"""The Secrets of one run: what its containers may not show, and what opens its image's registry.

They have names of their own and are made anew for each run, never shared or replaced under another run. The
runner makes them before the run's object and then makes that their owner, so they go with it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from launch_agent.spec import identity as ids
from launch_agent.spec.model import Credentials, RunIdentity
from launch_agent.spec.secret import Secret

_DOCKER_CONFIG = ".dockerconfigjson"
# What Docker's own client calls its registry in its configuration; the kubelet looks it up under this name.
_DOCKER_HUB = "https://index.docker.io/v1/"


def env_secret_name(identity: RunIdentity) -> str:
    return f"{ids.kube_name(identity)}-env"


def pull_secret_name(identity: RunIdentity) -> str:
    return f"{ids.kube_name(identity)}-pull"


def env_secret(identity: RunIdentity, namespace: str, values: Mapping[str, Secret]) -> dict[str, Any]:
    """The Secret that holds a run's secret variables, by their names."""
    data = {name: secret.reveal().encode() for name, secret in values.items()}
    return _secret(identity, env_secret_name(identity), namespace, "Opaque", data)


def pull_secret(identity: RunIdentity, namespace: str, credentials: Credentials) -> dict[str, Any]:
    """The Secret by which nodes pull a run's image; made anew to refresh it."""
    user, password = credentials.username, credentials.password.reveal()
    host = _DOCKER_HUB if credentials.host in ("docker.io", "index.docker.io") else credentials.host
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    config = {"auths": {host: {"username": user, "password": password, "auth": auth}}}
    data = {_DOCKER_CONFIG: json.dumps(config).encode()}
    kind = "kubernetes.io/dockerconfigjson"
    return _secret(identity, pull_secret_name(identity), namespace, kind, data)


def _secret(
    identity: RunIdentity, name: str, namespace: str, kind: str, data: Mapping[str, bytes]
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": ids.kube_labels(identity),
            "annotations": ids.to_labels(identity),
        },
        "type": kind,
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
