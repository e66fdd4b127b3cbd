"""The administrator's own bounds for jobs on Kubernetes: how much, where, of which kind, from which images.

Nothing is bounded until `policy.kubernetes` says so; what it says holds whatever `policy.allow` opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from launch_agent.errors import ImageError
from launch_agent.spec.image import ImageRef
from launch_agent.spec.policy.kubernetes_totals import Totals, totals
from launch_agent.spec.policy.quantity import quantity
from launch_agent.spec.policy.rules import Demand, is_plain

_RESOURCE = "kubernetes"
_ROOT = f"resource_args.{_RESOURCE}"
_PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
_PRIORITY_KEYS = frozenset({"priorityClassName", "priorityClass", _PRIORITY_LABEL})
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`policy.kubernetes` of the config. None, for a number or a list, is no bound.

    `max_cpu` are CPUs and `max_memory` bytes, of all pods of one run together; the lists are patterns
    (`fnmatch`), of kinds in the form `apiVersion/kind`.
    """

    max_cpu: Decimal | None = None
    max_memory: Decimal | None = None
    max_gpus: Decimal | None = None
    max_pods: Decimal | None = None
    priority_classes: Sequence[str] | None = None
    namespaces: Sequence[str] | None = None
    kinds: Sequence[str] | None = None
    images: Sequence[str] | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Limits:
        """The config's part as values; its schema has looked at it."""
        numbers = {key.replace("-", "_"): quantity(config[key]) for key in MAXIMA if key in config}
        lists = {key.replace("-", "_"): tuple(config[key]) for key in _LISTS if key in config}
        return cls(**numbers, **lists)  # type: ignore[arg-type]  # the keys are those of the schema

    @property
    def counts(self) -> bool:
        """Whether any maximum is set."""
        return any(getattr(self, key.replace("-", "_")) is not None for key in MAXIMA)


# The config's key, the field of `Totals`, and its unit in messages.
MAXIMA: Mapping[str, tuple[str, str]] = {
    "max-cpu": ("cpu", "CPUs"),
    "max-memory": ("memory", "bytes of memory"),
    "max-gpus": ("gpus", "GPUs"),
    "max-pods": ("pods", "pods"),
}
_LISTS = ("priority-classes", "namespaces", "kinds", "images")


def demands(
    manifest: Mapping[str, Any], services: Sequence[Mapping[str, Any]], image: str, limits: Limits
) -> Iterator[Demand]:
    """Everything that goes beyond the bounds. `image` is the job's own, empty where it is built."""
    if limits.counts:
        yield from _maxima(totals(manifest, _ROOT) + totals(services, "additional_services"), limits)
    for place, key, value in _texts(manifest, _ROOT, services):
        if key in _PRIORITY_KEYS:
            yield from _listed(place, value, "priority-classes", limits.priority_classes, "priority class")
        elif key == "image":
            yield from _image(place, value, limits.images)
    if image:
        yield from _image("docker.docker_image", image, limits.images)
    for place, namespace in _namespaces(manifest):
        yield from _listed(place, namespace, "namespaces", limits.namespaces, "namespace")
    for place, kind in _kinds(manifest, _ROOT, outermost=True):
        yield from _listed(place, kind, "kinds", limits.kinds, "kind")


def _maxima(asked: Totals, limits: Limits) -> Iterator[Demand]:
    for key, (field, unit) in MAXIMA.items():
        most, given = getattr(limits, key.replace("-", "_")), getattr(asked, field)
        if most is not None and given > most:
            why = f"asks for {_number(given)} {unit} in all, and this agent allows {_number(most)} for a run"
            yield _demand(_ROOT, key, why)
    for place in asked.unread:
        yield _demand(place, "max", "is no number, and this agent has maxima for a run")
    if limits.max_gpus is not None:
        for place in asked.claims:
            yield _demand(place, "max-gpus", "claims devices that this agent's maximum of GPUs cannot count")


def _number(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _listed(place: str, value: Any, key: str, patterns: Sequence[str] | None, what: str) -> Iterator[Demand]:
    if patterns is None or value in (None, ""):
        return
    text = str(value)
    if not (is_plain(text) and any(fnmatchcase(text, pattern) for pattern in patterns)):
        yield _demand(
            place, key, f"names the {what} {text[:_SHOWN]!r}, and this agent allows {_those(patterns)}"
        )


def _those(patterns: Sequence[str]) -> str:
    return ", ".join(patterns) or "none"


def _image(place: str, value: Any, patterns: Sequence[str] | None) -> Iterator[Demand]:
    # What the agent has built itself stands in the macro, and is nobody else's image.
    if patterns is None or value in (None, "", "${image_uri}"):
        return
    names = [str(value)]
    try:
        names.append(str(ImageRef.parse(str(value)).canonical()))
    except ImageError:
        names = []
    if not any(is_plain(name) and fnmatchcase(name, pattern) for name in names for pattern in patterns):
        why = f"names the image {str(value)[:_SHOWN]!r}, and this agent allows {_those(patterns)}"
        yield _demand(place, "images", why)


def _texts(
    manifest: Mapping[str, Any], place: str, services: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str, Any]]:
    """Every place, key and value that is no collection. A stack, since nesting is the submitter's."""
    waiting: list[tuple[str, str, Any]] = [("additional_services", "", list(services)), (place, "", manifest)]
    while waiting:
        where, key, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{where}.{each}", str(each), item) for each, item in reversed(list(value.items()))]
            if key == "image" and "reference" in value:  # a volume made of an image
                yield f"{where}.reference", "image", value["reference"]
        elif isinstance(value, list | tuple):
            waiting += [(f"{where}[{number}]", "", item) for number, item in reversed(list(enumerate(value)))]
        else:
            yield where, key, value


def _namespaces(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield f"{_ROOT}.namespace", manifest.get("namespace")
    metadata = manifest.get("metadata")
    if isinstance(metadata, Mapping):
        yield f"{_ROOT}.metadata.namespace", metadata.get("namespace")


def _kinds(manifest: Mapping[str, Any], place: str, *, outermost: bool) -> Iterator[tuple[str, str]]:
    """The manifest's own kind, and those of whole objects within it."""
    waiting: list[tuple[str, Any, bool]] = [(place, manifest, outermost)]
    while waiting:
        where, value, first = waiting.pop()
        if isinstance(value, Mapping):
            whole = "apiVersion" in value and "kind" in value and "spec" in value
            if first or whole:
                kind = f"{value.get('apiVersion') or 'batch/v1'}/{value.get('kind') or 'Job'}"
                yield f"{where}.kind", kind
            waiting += [(f"{where}.{key}", item, False) for key, item in reversed(list(value.items()))]
        elif isinstance(value, list | tuple):
            waiting += [(f"{where}[{n}]", item, False) for n, item in reversed(list(enumerate(value)))]


def _demand(path: str, key: str, why: str) -> Demand:
    cure = "the bounds for a run are set by `policy: {kubernetes: {...}}` in the agent's config"
    return Demand(resource=_RESOURCE, key=key, path=path, why=why, closed=cure)
