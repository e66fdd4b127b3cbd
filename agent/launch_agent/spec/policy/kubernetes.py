"""What a Kubernetes manifest may say: the table of what reaches beyond the job's own pods.

Manifests come in any kind, and a custom resource may put its pods anywhere. So each rule is a pattern below
*some* mapping of the manifest, found by walking all of it, and not a path from the top; only maps of free
text (labels, limits, …) are no places where a field can stand. A security context that hardens is nobody's
business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from launch_agent.spec.policy.rules import SECURE_CURE, SECURE_WHY, Demand, has_macro, texts

RESOURCE = "kubernetes"
SECRETS_CURE = "which Secrets are the agent's own is said by `policy: {protected-secrets: [...]}`"

# Maps whose keys are names that users choose, as long as all that they hold is plain values.
FREE_TEXT = frozenset({"labels", "annotations", "matchLabels", "nodeSelector", "limits", "requests"})
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
    "*flowcontrol.apiserver.k8s.io/*",
    "*networking.k8s.io/*",
    "*node.k8s.io/*",
    "*scheduling.k8s.io/*",
    "*storage.k8s.io/*",
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
        asks=lambda value: not str(value).startswith(("runtime/default", "localhost/")),
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
    Rule(key="nodeName", at="nodeName", why="bypasses the scheduler"),
    Rule(
        key="priorityClassName",
        at="priorityClassName",
        why="takes the place of the cluster's own pods",
        asks=_system,
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

# Where the names of Secrets stand: containers, volumes of each type, and Spark's own fields.
SECRET_NAMES: Sequence[str] = (
    "env > * > valueFrom > secretKeyRef > name",
    "envFrom > * > secretRef > name",
    "envSecretKeyRefs > * > name",
    "secrets > * > name",
    "volumes > * > * > *ecretName",
    "volumes > * > * > *ecretRef > name",
    "volumes > * > projected > sources > * > secret > name",
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


def demands(
    manifest: Mapping[str, Any], *, secure_mode: bool, protected_secrets: Sequence[str]
) -> Iterator[Demand]:
    """What a manifest asks for beyond its own pods, each place once."""

    def protected(value: Any) -> bool:
        # A macro could become any name, and what is no text is no legal name.
        return value is not None and (
            has_macro(str(value)) or any(fnmatchcase(str(value), pattern) for pattern in protected_secrets)
        )

    closed = [
        (Rule(key="secret", at=at, why="is one of the agent's own secrets", asks=protected), SECRETS_CURE)
        for at in SECRET_NAMES
    ]
    closed += [(rule, SECURE_CURE) for rule in SECURE_MODE if secure_mode]
    for rule, cure, path, value in _places(manifest, [*closed, *((rule, "") for rule in RULES)]):
        if rule.asks(value):
            yield Demand(
                resource=RESOURCE,
                key=rule.key,
                path=path,
                why=rule.why,
                values=rule.shown(value),
                closed=cure,
            )


def _places(
    manifest: Mapping[str, Any], rules: Sequence[tuple[Rule, str]]
) -> Iterator[tuple[Rule, str, str, Any]]:
    """Every rule with every place that it speaks of. Manifests have few different keys and rules few that
    begin with a given one, so each key is compared with the rules once."""

    @cache
    def beginning_with(key: str) -> list[tuple[Rule, str, Sequence[str]]]:
        parts = [(rule, cure, rule.at.split(" > ")) for rule, cure in rules if rule.at]
        return [(rule, cure, at[1:]) for rule, cure, at in parts if fnmatchcase(key, at[0])]

    whole = [(rule, cure) for rule, cure in rules if not rule.at]
    for place, mapping in _mappings(manifest):
        for rule, cure in whole:
            yield rule, cure, place, mapping
        for key, inner in mapping.items():
            for rule, cure, rest in beginning_with(str(key)):
                for path, value in _find(inner, rest, f"{place}.{key}"):
                    yield rule, cure, path, value


def _mappings(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping in which a field may stand, with its path. A stack, since nesting is the submitter's."""
    waiting: list[tuple[str, Any]] = [(f"resource_args.{RESOURCE}", manifest)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, Mapping):
            yield place, value
            waiting += [
                (f"{place}.{key}", item)
                for key, item in reversed(list(value.items()))
                if not (key in FREE_TEXT and _is_free_text(item))
            ]
        elif isinstance(value, list | tuple):
            waiting += [(f"{place}[{number}]", item) for number, item in reversed(list(enumerate(value)))]


def _is_free_text(value: Any) -> bool:
    return isinstance(value, Mapping) and not any(
        isinstance(item, Mapping | list | tuple) for item in value.values()
    )


def _find(value: Any, patterns: Sequence[str], place: str) -> Iterator[tuple[str, Any]]:
    """Every value below `value` whose keys match the patterns, with its path."""
    if not patterns:
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if fnmatchcase(str(key), patterns[0]):
                yield from _find(item, patterns[1:], f"{place}.{key}")
    elif isinstance(value, list | tuple) and patterns[0] == "*":
        for number, item in enumerate(value):
            yield from _find(item, patterns[1:], f"{place}[{number}]")
