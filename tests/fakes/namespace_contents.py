"""What there is in a namespace, of whatever kind, so that a test sees that nothing was left behind."""

from __future__ import annotations

from tests.fakes.kube import Kube

# What every namespace has without anybody's doing.
OWN = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
# The record of what happened, which outlives what it is about.
IGNORED = {"Event"}


def contents(kube: Kube, namespace: str) -> set[tuple[str, str]]:
    """Kind and name of everything in a namespace, of whatever kind the server knows."""
    found = set()
    versions = ["v1"]
    versions += [each["preferredVersion"]["groupVersion"] for each in kube.call("GET", "/apis")["groups"]]
    for version in versions:
        root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
        for kind in kube.call("GET", root)["resources"]:
            if kind["namespaced"] and "list" in kind["verbs"] and kind["kind"] not in IGNORED:
                items = kube.call("GET", f"{root}/namespaces/{namespace}/{kind['name']}")["items"]
                found |= {(kind["kind"], item["metadata"]["name"]) for item in items}
    return found
