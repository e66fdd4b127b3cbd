"""What the API server would refuse, where its own words would not say in which part of the job it is.

Most of a manifest is judged by the server, in a dry run. Labels, sizes and namespaces are judged here: the
server's messages about them speak of one place at a time, or of none.
"""

from __future__ import annotations

import json
import re
from typing import Any

from launch_agent.spec.kubernetes.problems import Problems, join

# Kubernetes' rules for labels: an optional DNS prefix, then a name; values like names, or empty.
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_RULE = "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
# etcd takes 1.5 MiB in one request, of which the server's own additions need some.
LARGEST = 1_400_000
_SHOWN = 80


def check_labels(value: Any, place: str, problems: Problems) -> None:
    """Every `labels` and `annotations` of any `metadata` in the manifest."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            check_labels(item, f"{place}[{number}]", problems)
    if not isinstance(value, dict):
        return
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        _check_map(metadata.get("labels"), join(join(place, "metadata"), "labels"), problems, labels=True)
        where = join(join(place, "metadata"), "annotations")
        _check_map(metadata.get("annotations"), where, problems, labels=False)
    for key, item in value.items():
        if key != "metadata":
            check_labels(item, join(place, str(key)), problems)


def _check_map(value: Any, place: str, problems: Problems, *, labels: bool) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        problems.wrong_type(place, "a mapping", value)
        return
    for key, item in value.items():
        prefix, slash, name = str(key).rpartition("/")
        shown = f"{place}.{str(key)[:_SHOWN]}"
        if not _NAME.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
            problems.add(shown, "is no legal name of a label or annotation", f"a name has {_LABEL_RULE}")
        if not isinstance(item, str):
            problems.wrong_type(shown, "a text", item)
        elif labels and item and not _NAME.fullmatch(item):
            problems.add(
                shown, f"is {item[:_SHOWN]!r}, which is no legal label", f"a label has {_LABEL_RULE}"
            )


def set_namespace(manifest: dict[str, Any], place: str, namespace: str, problems: Problems) -> None:
    """Put the object at `place` into its namespace. It may ask for no other one, and no more may objects
    within it, as an AppWrapper has them."""
    _check_namespaces(manifest, place, namespace, problems)
    manifest["metadata"]["namespace"] = namespace


def _check_namespaces(value: Any, place: str, namespace: str, problems: Problems) -> None:
    if isinstance(value, list):
        for number, item in enumerate(value):
            _check_namespaces(item, f"{place}[{number}]", namespace, problems)
    if not isinstance(value, dict):
        return
    metadata = value.get("metadata")
    given = metadata.get("namespace") if isinstance(metadata, dict) else None
    if given not in (None, "", namespace):
        problems.add(
            join(place, "metadata.namespace"),
            f"is {str(given)[:_SHOWN]!r}, and the run is in {namespace!r}",
            "leave it out: all of a run is in one namespace",
        )
    for key, item in value.items():
        _check_namespaces(item, join(place, str(key)), namespace, problems)


def check_size(manifest: dict[str, Any], problems: Problems) -> None:
    size = len(json.dumps(manifest, separators=(",", ":")).encode())
    if size > LARGEST:
        problems.add(
            "",
            f"makes an object of {size:,} bytes, and a cluster stores {LARGEST:,} at most",
            "move large values into a ConfigMap or an artifact",
        )
