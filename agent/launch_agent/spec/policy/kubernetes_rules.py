"""The tables of what a Kubernetes manifest may not say unless an administrator opens it.

A row says what is looked for and where; kubernetes.py finds the places. What these tables let through is
admitted by the Pod Security standard `baseline`: a test holds them against a real API server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from launch_agent.spec.policy.rules import SECURE_WHY, has_macro, texts

SAFE_VOLUMES = frozenset(
    {
        "configMap",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
# apiVersion/kind that are no workloads; `v1/Pod` is the one core kind that is.
FOREIGN_KINDS = (
    "v1/*",
    "*admissionregistration.k8s.io/*",
    "*apiextensions.k8s.io/*",
    "*apiregistration.k8s.io/*",
    "*authentication.k8s.io/*",
    "*authorization.k8s.io/*",
    "*certificates.k8s.io/*",
    "*coordination.k8s.io/*",
    "*discovery.k8s.io/*",
    "*events.k8s.io/*",
    "*flowcontrol.apiserver.k8s.io/*",
    "*networking.k8s.io/*",
    "*node.k8s.io/*",
    "*scheduling.k8s.io/*",
    "*resource.k8s.io/*",
    "*storage.k8s.io/*",
    "autoscaling/*",
    "policy/*",
)
_REFERENCE = frozenset(
    {
        "apiGroup",
        "apiVersion",
        "blockOwnerDeletion",
        "controller",
        "fieldPath",
        "kind",
        "name",
        "namespace",
        "resourceVersion",
        "uid",
    }
)


def _asked(value: Any) -> bool:
    """Anything but the absence of a value: a text that is not YAML's false counts as asked for."""
    return value not in (None, False, "", 0, [], {})


def _beyond(*harmless: str) -> Callable[[Any], bool]:
    return lambda value: value is not None and value not in harmless


def _root(value: Any) -> bool:
    number = isinstance(value, int) and not isinstance(value, bool)
    return value is not None and not (number and value > 0)


def _system(value: Any) -> bool:
    return value is not None and (str(value).startswith("system-") or has_macro(str(value)))


def _outside(value: Any) -> bool:
    """Whether a type of Service is reached from outside; ours is a name of Spark's languages, too."""
    return isinstance(value, str) and (
        value in ("ExternalName", "LoadBalancer", "NodePort") or has_macro(value)
    )


def _foreign(value: Any) -> bool:
    """Whether this is an object of another kind than a workload; a macro could make it any kind."""
    return any(
        kind != "v1/Pod" and (has_macro(kind) or any(fnmatchcase(kind, each) for each in FOREIGN_KINDS))
        for kind in _kind(value)
    )


def _kind(value: Any) -> tuple[str, ...]:
    if not (isinstance(value, Mapping) and "apiVersion" in value and "kind" in value):
        return ()
    # A reference to an object creates none; the manifest itself is none, having more than these keys.
    return () if set(value) <= _REFERENCE and "name" in value else (f"{value['apiVersion']}/{value['kind']}",)


def _unsafe_volume(value: Any) -> bool:
    return bool(_volume_types(value))


def _volume_types(value: Any) -> tuple[str, ...]:
    # hostPath has a rule of its own, in which patterns are compared with the path.
    kinds = value.keys() if isinstance(value, Mapping) else ()
    return tuple(str(kind) for kind in kinds if kind not in SAFE_VOLUMES | {"name", "hostPath"})


def _host_path(value: Any) -> tuple[str, ...]:
    return texts(value.get("path")) if isinstance(value, Mapping) else texts(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row: under `key` the administrator opens what stands `at` a place where `asks` holds.

    `at` are patterns of keys below any mapping, separated by ` > `, `*` for each item of a list; empty means
    the mapping itself. `shown` gives the texts that the administrator's patterns are compared with.
    """

    key: str
    at: str
    why: str
    asks: Callable[[Any], bool] = _asked
    shown: Callable[[Any], tuple[str, ...]] = texts


_CONTEXT = "*ecurityContext"
RULES: Sequence[Rule] = (
    Rule(key="hostNetwork", at="hostNetwork", why="shares the node's network"),
    Rule(key="hostPID", at="hostPID", why="sees the node's processes"),
    Rule(key="hostIPC", at="hostIPC", why="shares the node's memory segments"),
    Rule(key="hostPort", at="ports > * > hostPort", why="takes a port of the node"),
    Rule(key="hostPath", at="hostPath", why="opens the node's files", shown=_host_path),
    Rule(
        key="volumes",
        at="volumes > *",
        why="is of a type of volume that reaches outside the cluster's own storage",
        asks=_unsafe_volume,
        shown=_volume_types,
    ),
    Rule(
        key="mountPropagation",
        at="volumeMounts > * > mountPropagation",
        why="spreads mounts to the node",
        asks=_beyond("None", "HostToContainer"),
    ),
    Rule(key="privileged", at=f"{_CONTEXT} > privileged", why="is root on the node"),
    Rule(
        key="allowPrivilegeEscalation",
        at=f"{_CONTEXT} > allowPrivilegeEscalation",
        why="lets processes gain privileges",
    ),
    Rule(key="capabilities", at=f"{_CONTEXT} > capabilities > add", why="adds kernel capabilities"),
    Rule(key="runAsUser", at=f"{_CONTEXT} > runAsUser", why="runs as root", asks=_root),
    Rule(
        key="seccompProfile",
        at=f"{_CONTEXT} > seccompProfile > type",
        why="takes the system call filter away",
        asks=_beyond("RuntimeDefault", "Localhost"),
    ),
    Rule(
        key="seccompProfile",
        at="annotations > *seccomp.security.alpha.kubernetes.io/*",
        why="takes the system call filter away",
        asks=_beyond("runtime/default", "docker/default"),
    ),
    Rule(
        key="appArmorProfile",
        at=f"{_CONTEXT} > appArmorProfile > type",
        why="takes the AppArmor profile away",
        asks=_beyond("RuntimeDefault", "Localhost"),
    ),
    Rule(
        key="appArmorProfile",
        at="annotations > container.apparmor.security.beta.kubernetes.io/*",
        why="takes the AppArmor profile away",
        asks=lambda value: value not in ("", "runtime/default") and not str(value).startswith("localhost/"),
    ),
    Rule(key="seLinuxOptions", at=f"{_CONTEXT} > seLinuxOptions", why="chooses another SELinux label"),
    Rule(
        key="procMount",
        at=f"{_CONTEXT} > procMount",
        why="uncovers parts of /proc",
        asks=_beyond("Default"),
    ),
    Rule(key="sysctls", at=f"{_CONTEXT} > sysctls", why="sets kernel parameters"),
    Rule(
        key="hostProcess",
        at=f"{_CONTEXT} > windowsOptions > hostProcess",
        why="runs on the node itself",
    ),
    Rule(
        key="serviceAccountName",
        at="serviceAccount*",
        why="acts as another service account",
        asks=lambda value: isinstance(value, str) and value not in ("", "default"),
    ),
    Rule(
        key="automountServiceAccountToken",
        at="automountServiceAccountToken",
        why="hands the job a key to the cluster",
    ),
    Rule(
        key="serviceAccountToken",
        at="volumes > * > projected > sources > * > serviceAccountToken",
        why="hands the job a key to the cluster",
        shown=lambda value: texts(value.get("audience")) if isinstance(value, Mapping) else (),
    ),
    Rule(
        key="podCertificate",
        at="volumes > * > projected > sources > * > podCertificate",
        why="hands the job a certificate of the cluster",
        shown=lambda value: texts(value.get("signerName")) if isinstance(value, Mapping) else (),
    ),
    Rule(key="probeHost", at="*Probe > * > host", why="makes the node call another host"),
    Rule(key="probeHost", at="lifecycle > * > * > host", why="makes the node call another host"),
    Rule(key="nodeName", at="nodeName", why="bypasses the scheduler"),
    Rule(
        key="priorityClassName",
        at="priorityClassName",
        why="takes the place of the cluster's own pods",
        asks=_system,
    ),
    Rule(
        key="serviceType",
        at="*erviceType",
        why="opens a port of the cluster to the outside",
        asks=_outside,
    ),
    Rule(
        key="serviceType", at="spec > type", why="opens a port of the cluster to the outside", asks=_outside
    ),
    Rule(key="externalIPs", at="externalIPs", why="takes over addresses outside the cluster"),
    Rule(
        key="sparkConf",
        at="sparkConf > spark.kubernetes.*",
        why="changes Spark's pods where this policy does not see it",
        shown=lambda value: (),
    ),
    Rule(key="finalizers", at="metadata > finalizers", why="keeps the object from being removed"),
    Rule(
        key="ownerReferences",
        at="metadata > ownerReferences",
        why="ties the object's end to another object",
    ),
    Rule(
        key="kind",
        at="",
        why="is no workload",
        asks=_foreign,
        shown=_kind,
    ),
    Rule(
        key="identity",
        at="labels > launch-agent/*",
        why="is a name by which the agent itself ties objects to queue items",
    ),
    Rule(
        key="identity",
        at="annotations > launch-agent/*",
        why="is a name by which the agent itself ties objects to queue items",
    ),
)

# Where the names of Secrets stand: containers, volumes of each type, and the fields of custom resources.
SECRET_NAMES: Sequence[str] = (
    "*ecretKeyRef > name",
    "*ecretRef > name",
    "*ecretName",
    "secret > name",
    "secrets > * > name",
    "envSecretKeyRefs > * > name",
    "imagePullSecrets > *",
    "imagePullSecrets > * > name",
)

SECURE_MODE: Sequence[Rule] = tuple(
    Rule(key=at.rpartition(" > ")[2], at=at, why=SECURE_WHY)
    for at in (
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "initContainers",
        "*ontainers > * > command",
        "*ontainers > * > lifecycle",
        "*ontainers > * > *Probe > exec",
    )
)
