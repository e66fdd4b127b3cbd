"""Namespaces whose pods run on one of the cluster's nodes, whatever their manifests say.

Both nodes are tainted, so that the other tests' pods stay pending. Two admission plugins of the API server
read a namespace's annotations and add a node selector and a toleration to each pod that is made in it: what
is tested needs no knowledge of the nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

from tests.fakes.eventually import eventually
from tests.fakes.kube import Kube, Object

_PLUGINS = "scheduler.alpha.kubernetes.io"


@contextmanager
def namespace_on(kube: Kube, node: str, taint: str, labels: Mapping[str, str] | None = None) -> Iterator[str]:
    """A namespace of the test's own; whatever is in it at the end goes with it."""
    name = f"test-{uuid4().hex[:10]}"
    tolerations = json.dumps([{"key": taint, "operator": "Exists", "effect": "NoSchedule"}])
    annotations = {
        f"{_PLUGINS}/node-selector": f"kubernetes.io/hostname={node}",
        f"{_PLUGINS}/defaultTolerations": tolerations,
    }
    meta = {"name": name, "annotations": annotations, "labels": dict(labels or {})}
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    await_account(kube, name)
    try:
        yield name
    finally:
        kube.delete("v1", "Namespace", "", name)
        # By force, since nobody ends those of a node that is lost. Nobody makes new ones there any more.
        for pod in kube.items("v1", "Pod", name):
            kube.delete("v1", "Pod", name, pod["metadata"]["name"], grace=0)


def await_account(kube: Kube, namespace: str) -> None:
    """Wait for the account that a controller puts into each namespace; without it no pod is admitted."""
    account = partial(kube.get, "v1", "ServiceAccount", namespace, "default")
    eventually(account, within=60, every=0.1, what="the namespace has its default account")


def await_ready(kube: Kube, node: str, *, within: float = 60) -> None:
    """Wait until a node takes pods: it is ready, and the controllers have taken their taint off."""

    def takes_pods() -> bool:
        found = kube.get("v1", "Node", "", node)
        return found is not None and _is_ready(found) and len(found["spec"].get("taints", [])) == 1

    eventually(takes_pods, within=within, every=0.1, what=f"the node {node} takes pods")


def _is_ready(node: Object) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
