"""One Secret in which an agent keeps small things that have to outlive its pod, key by key.

A change names only the keys that it touches, so it is one request whatever else the Secret holds, and two
agents that write into the same one take nothing from each other. The Secret is there already where the agent
was installed by its chart; elsewhere it is made at the first change.

The API takes a Secret of up to one MiB.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from typing import Any

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import AlreadyExists, NotFound
from launch_agent.clients.kube.objects import Resource

_SECRET = Resource(group="", version="v1", plural="secrets", kind="Secret", namespaced=True)
_LABELS = {"app.kubernetes.io/managed-by": "launch-agent"}


class KubeKeep:
    """The Secret `namespace/name` of the cluster that `connect` leads to, asked at the first use.

    Keys are letters, digits, `-`, `_` and `.`. Raises KubeError.
    """

    def __init__(self, place: str, connect: Callable[[], KubeApi]) -> None:
        self.place = place
        self._namespace, _, self._name = place.partition("/")
        self._connect = connect
        self._made: KubeApi | None = None

    def read(self) -> Mapping[str, bytes]:
        """Everything that is in it; nothing where there is no such Secret."""
        found = self._api().find(_SECRET, self._namespace, self._name)
        data = (found or {}).get("data") or {}
        return {key: value for key, text in data.items() if (value := _decoded(text)) is not None}

    def change(self, put: Mapping[str, bytes], drop: Collection[str]) -> None:
        """Put some keys in, take others out, in one step."""
        data: dict[str, Any] = {key: base64.b64encode(value).decode() for key, value in put.items()}
        change = {"data": {**dict.fromkeys(drop), **data}}
        api = self._api()
        try:
            api.patch(_SECRET, self._namespace, self._name, change)
        except NotFound:
            if not data:
                return
            meta = {"name": self._name, "namespace": self._namespace, "labels": _LABELS}
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data}
            try:
                api.create(_SECRET, self._namespace, secret)
            except AlreadyExists:
                api.patch(_SECRET, self._namespace, self._name, change)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def _api(self) -> KubeApi:
        if self._made is None:
            self._made = self._connect()
        return self._made


def _decoded(text: object) -> bytes | None:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        return None
