"""Whether a YAML file holds values of the chart, and where in it.

They are the whole of a values file; in those of a parent chart they stand below the name of the dependency,
in a Flux HelmRelease or an Argo CD Application somewhere in its spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from launch_agent.config import schema
from launch_agent.config.finding import Path

SCHEMA = "chart-values"
# The key that holds the launch config, and another documented name of it.
CONFIG_KEYS = ("launchConfig", "agentConfig")

# No other chart is likely to have these.
_OWN = frozenset(
    {
        *CONFIG_KEYS,
        "additionalTargetNamespaces",
        "azureStorageAccessKey",
        "buildkitTlsSecret",
        "buildSecretsSecret",
        "gitCreds",
        "kanikoDockerConfigSecret",
        "kanikoPvcName",
        "sshAuthSecrets",
    }
)
# Deep enough for the sources of an Argo CD ApplicationSet.
_DEEPEST = 8


def is_values(value: Mapping[str, Any], *, named: bool = True) -> bool:
    """Whether the keys are those of the chart. Without one of its own, all must be known and one of them
    nobody else's; and since many charts have keys such as `serviceAccount`, that is only believed of files
    that were `named` one by one, or that have this chart's keys below `agent`."""
    if _OWN & value.keys():
        return True
    properties = schema.load(SCHEMA)["properties"]
    if not value or not value.keys() <= properties.keys():
        return False
    agent = value.get("agent")
    if isinstance(agent, Mapping) and agent.keys() <= properties["agent"]["properties"].keys():
        return True
    return named and bool(value.keys() - _shared())


def parts(value: Mapping[str, Any]) -> list[Path]:
    """The paths at which values of the chart stand; empty where there are none."""
    return [()] if is_values(value) else inner(value)


def inner(value: Mapping[str, Any]) -> list[Path]:
    """The paths at which a file that is no values file holds values with a launch config."""
    if "kind" in value and "apiVersion" in value:
        return list(_in_manifest(value.get("spec"), ("spec",)))
    if isinstance(value.get("tests"), list) or "$schema" in value:
        return []  # a suite of helm-unittest, a JSON Schema
    return [(key,) for key, item in value.items() if _has_config(item)]


def _in_manifest(value: Any, path: Path) -> Iterator[Path]:
    """Values in the spec of a manifest stand below `values` (Flux) or `valuesObject` (Argo CD)."""
    if len(path) > _DEEPEST:
        return
    if _has_config(value) and path[-1] in ("values", "valuesObject"):
        yield path
    elif isinstance(value, Mapping | list):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _in_manifest(item, (*path, key))


def _has_config(value: Any) -> bool:
    return isinstance(value, Mapping) and any(key in value for key in CONFIG_KEYS)


def _shared() -> frozenset[str]:
    """Keys that the chart's values have in common with a launch config or a queue's configuration."""
    launch = schema.load("launch-config")["properties"].keys()
    return frozenset({*launch, "namespace", "metadata", "image", "volumes", "labels", "annotations"})
