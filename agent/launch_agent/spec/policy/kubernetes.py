"""What a Kubernetes manifest may say: finds in it what reaches beyond the job's own pods.

Manifests come in any kind, and a custom resource may put its pods anywhere. So each rule is a pattern below
*some* mapping of the manifest, found by walking all of it, and not a path from the top; only maps of free
text (labels, limits, …) are no places where a field can stand. A security context that hardens is nobody's
business. The rules themselves are in kubernetes_rules.py, the administrator's maxima in kubernetes_limits.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from launch_agent.spec.policy.kubernetes_rules import RULES, SECRET_NAMES, SECURE_MODE, Rule
from launch_agent.spec.policy.rules import SECURE_CURE, Demand, has_macro

RESOURCE = "kubernetes"
SERVICES = "additional_services"
SECRETS_CURE = "which Secrets are the agent's own is said by `policy: {protected-secrets: [...]}`"

# Maps whose keys are names that users choose, as long as all that they hold is plain values.
FREE_TEXT = frozenset({"labels", "annotations", "matchLabels", "nodeSelector", "limits", "requests"})


def demands(
    manifest: Mapping[str, Any],
    *,
    secure_mode: bool,
    protected_secrets: Sequence[str],
    place: str = f"resource_args.{RESOURCE}",
) -> Iterator[Demand]:
    """What a manifest asks for beyond its own pods, each place once. `place` is the manifest's own path."""

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
    rules = [*closed, *((rule, "") for rule in RULES)]
    for rule, cure, path, value in _places(manifest, place, rules):
        if rule.asks(value):
            yield Demand(
                resource=RESOURCE,
                key=rule.key,
                path=path,
                why=rule.why,
                values=rule.shown(value),
                closed=cure,
            )


def service_demands(
    services: Sequence[Mapping[str, Any]], *, secure_mode: bool, protected_secrets: Sequence[str]
) -> Iterator[Demand]:
    """What the objects beside a run ask for: each to be there at all, and what is in it."""
    for number, service in enumerate(services):
        config = service.get("config")
        manifest = config if isinstance(config, Mapping) else {}
        kind = f"{manifest.get('apiVersion')}/{manifest.get('kind')}"
        path = f"{SERVICES}[{number}]"
        why = "puts an object of its own beside the run"
        yield Demand(resource=RESOURCE, key=SERVICES, path=path, why=why, values=(kind,))
        if kind == "v1/Service":  # no workload, and opened by its own key
            manifest = {key: value for key, value in manifest.items() if key != "kind"}
        yield from demands(
            manifest, secure_mode=secure_mode, protected_secrets=protected_secrets, place=f"{path}.config"
        )


def _places(
    manifest: Mapping[str, Any], place: str, rules: Sequence[tuple[Rule, str]]
) -> Iterator[tuple[Rule, str, str, Any]]:
    """Every rule with every place that it speaks of. Manifests have few different keys and rules few that
    begin with a given one, so each key is compared with the rules once."""

    @cache
    def beginning_with(key: str) -> list[tuple[Rule, str, Sequence[str]]]:
        parts = [(rule, cure, rule.at.split(" > ")) for rule, cure in rules if rule.at]
        return [(rule, cure, at[1:]) for rule, cure, at in parts if fnmatchcase(key, at[0])]

    whole = [(rule, cure) for rule, cure in rules if not rule.at]
    for where, mapping in _mappings(manifest, place):
        for rule, cure in whole:
            yield rule, cure, where, mapping
        for key, inner in mapping.items():
            for rule, cure, rest in beginning_with(str(key)):
                for path, value in _find(inner, rest, f"{where}.{key}"):
                    yield rule, cure, path, value


def _mappings(manifest: Mapping[str, Any], place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping in which a field may stand, with its path. A stack, since nesting is the submitter's."""
    waiting: list[tuple[str, Any]] = [(place, manifest)]
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
