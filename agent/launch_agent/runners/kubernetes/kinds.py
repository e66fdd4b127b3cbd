"""Which kinds of objects an earlier agent's runs may be of: nothing is remembered, so all are looked at.

A queue may name any kind, and an agent's pod takes what it remembered with it. What has to be listed to
find its runs again is every kind that its account may create and that is none of Kubernetes' own: with the
chart's Role those that `rbac.customResources` names, for an administrator every custom resource there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.objects import Resource
from launch_agent.clients.kube.review import Rules
from launch_agent.runners.kubernetes.refusals import asking
from launch_agent.runners.kubernetes.rights import rules_in
from launch_agent.spec.kubernetes.kinds import ENDLESS

_PODS = "/pods"
_OWN = frozenset({"batch/jobs", _PODS})
_NEEDED_VERBS = frozenset({"create", "get", "list", "watch", "delete"})
# Groups that Kubernetes itself and its common add-ons serve; none of their kinds is a run, but Jobs and pods.
_BUILT_IN = frozenset(
    {
        "",
        "apps",
        "autoscaling",
        "batch",
        "extensions",
        "policy",
        "metrics.k8s.io",
        "custom.metrics.k8s.io",
        "kueue.x-k8s.io",
    }
)
_BUILT_IN_PARENTS = (
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apiserver.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
)


def candidates(api: KubeApi, namespaces: Sequence[str]) -> Sequence[Resource]:
    """Of Jobs, pods and custom resources those that the account may create, and pods, in one of the
    namespaces. Raises RunnerError."""
    with asking("ask which kinds of objects the cluster knows"):
        known = [found for found in api.resources() if may_be_run(found)]
    rules = [rules_in(api, namespace) for namespace in namespaces]
    return [found for found in known if found.key == _PODS or _may_create(rules, found)]


def may_be_run(found: Resource) -> bool:
    """Whether a run may be of this kind, by what the cluster says of the kind."""
    if found.key in _OWN:
        return True
    return (
        found.namespaced
        and found.verbs >= _NEEDED_VERBS
        and not _is_built_in(found.group)
        and f"{found.group}/{found.kind}" not in ENDLESS
    )


def is_controlled(obj: Mapping[str, Any]) -> bool:
    """Whether another object made this one: then it is a part of a run and none itself."""
    owners = obj["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") for owner in owners)


def _is_built_in(group: str) -> bool:
    return group in _BUILT_IN or group.endswith(_BUILT_IN_PARENTS)


def _may_create(rules: Sequence[Rules], found: Resource) -> bool:
    """Where an authorizer does not tell all, the listing will."""
    return any(not each.complete or each.allow("create", found.key) for each in rules)
