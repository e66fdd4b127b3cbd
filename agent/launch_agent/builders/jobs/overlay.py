"""The config's partial Job laid over ours, as Kubernetes lays a strategic merge patch over an object.

Mappings merge, null takes a key away, lists whose items have a name merge by it, and all other lists are
replaced. The first container is the one that builds, named or not. Arguments merge by flag, since a build
cannot do without most of ours: a flag that is given takes the place of ours, in any of its spellings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from launch_agent.errors import ConfigError

# Lists whose items are told apart by a key.
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
    "ports": "containerPort",
    "hostAliases": "ip",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """A partial Job. `place` is the config's key that holds it, `container` our name of the container that
    builds; `repeated` are the flags of its program that may come more than once."""

    place: str
    container: str
    value: Mapping[str, Any] = field(default_factory=dict)
    repeated: Set[str] = frozenset()


def lay_over(base: Mapping[str, Any], overlay: Overlay) -> dict[str, Any]:
    """A new object. Raises ConfigError where a list is to be laid over something else."""
    return _mapping(base, overlay.value, overlay.place, overlay)


def _mapping(
    base: Mapping[str, Any], overlay: Mapping[str, Any], place: str, whole: Overlay
) -> dict[str, Any]:
    result = dict(base)
    for key, value in overlay.items():
        inner = f"{place}.{key}"
        if value is None:
            result.pop(key, None)
        elif key == "args" and "args" in base:
            result[key] = _arguments(base[key], _flags(value, inner), whole.repeated)
        elif isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            result[key] = _mapping(base[key], value, inner, whole)
        elif key in _KEYS and isinstance(base.get(key), Sequence):
            result[key] = _named(base[key], value, key, inner, whole)
        else:
            result[key] = value
    return result


def _named(base: Sequence[Any], overlay: Any, kind: str, place: str, whole: Overlay) -> list[Any]:
    if not isinstance(overlay, list) or not all(isinstance(item, Mapping) for item in overlay):
        raise ConfigError("must be a list of mappings", path=place, hint="write it as in a Kubernetes Job")
    key = _KEYS[kind]
    result = [dict(item) for item in base]
    for number, given in enumerate(overlay):
        # The first container by our own name for it: by that the build's output and end are found.
        item = {**given, key: whole.container} if kind == "containers" and number == 0 else given
        name = item.get(key)
        found = next((index for index, each in enumerate(result) if each.get(key) == name), None)
        if found is None:
            result.append(dict(item))
        else:
            result[found] = _mapping(result[found], item, f"{place}[{number}]", whole)
    return result


def _flags(value: Any, place: str) -> list[tuple[str, str]]:
    """Each flag with what it came with: `--flag=value`, `--flag value`, a bare flag, or a mapping."""
    if isinstance(value, Mapping):
        return [
            (f"--{str(key).lstrip('-')}", f"--{str(key).lstrip('-')}={item}") for key, item in value.items()
        ]
    if not isinstance(value, list):
        raise ConfigError("must be a list of arguments", path=place, hint="for example ['--cache=false']")
    words = [str(word) for word in value]
    found: list[tuple[str, str]] = []
    for word in words:
        if word.startswith("-"):
            found.append((word.partition("=")[0], word))
        elif found and "=" not in found[-1][1]:
            flag, bare = found.pop()
            found.append((flag, f"{bare}={word}"))
        else:
            raise ConfigError(
                f"{word!r} is no flag, and follows none",
                path=place,
                hint="the builder takes flags only: --flag=value",
            )
    return found


def _arguments(base: Sequence[str], given: Sequence[tuple[str, str]], repeated: Set[str]) -> list[str]:
    taken = {flag: argument for flag, argument in given if flag not in repeated}
    kept = [argument for argument in base if argument.partition("=")[0] not in taken]
    return [*kept, *taken.values(), *(argument for flag, argument in given if flag in repeated)]
