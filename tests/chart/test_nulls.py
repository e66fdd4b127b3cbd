"""A key without a value (`namespace:`), which files of the wild are full of, is no way to break the chart.

Null takes the chart's default away before a template sees it. What then renders must hold no null of its own
and no `<nil>`, which is how templates write what is not there; or it is refused by the key's name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from tests.fakes.helm import CHART, Helm, HelmFailed

MINIMAL: dict[str, Any] = {"agent": {"apiKey": "0123456789"}, "launchConfig": {"queues": ["gpu"]}}
Path_ = tuple[str, ...]


def paths(values: Mapping[str, Any], path: Path_ = ()) -> Iterator[Path_]:
    """Every key of values.yaml, mappings and what is in them."""
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, Mapping):
            yield from paths(value, (*path, key))


def without(path: Path_) -> dict[str, Any]:
    """The least values with null at that path."""
    values: dict[str, Any] = json.loads(json.dumps(MINIMAL))
    part = values
    for key in path[:-1]:
        part = part.setdefault(key, {})
    part[path[-1]] = None
    return values


def nulls(value: Any, path: Path_ = ()) -> Iterator[str]:
    if value is None:
        yield ".".join(path)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from nulls(item, (*path, str(key)))


def trouble(helm: Helm, path: Path_) -> str:
    """What is wrong with the outcome; empty where nothing is."""
    name = ".".join(path)
    try:
        objects = helm.template(without(path))
    except HelmFailed as error:
        named = name in str(error) or f"missing property '{path[-1]}'" in str(error)
        return "" if named else f"{name}: {error}"
    found = [f"{each['kind']} {where}" for each in objects for where in nulls(each)]
    found += [f"{each['kind']}: <nil>" for each in objects if "<nil>" in json.dumps(each)]
    return f"{name}: {found}" if found else ""


@pytest.mark.req("CHART-23", "CHART-26")
@pytest.mark.timeout(300)
def test_no_null_breaks_what_is_rendered(helm: Helm) -> None:
    every = list(paths(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))))
    with ThreadPoolExecutor(2) as pool:
        assert [found for found in pool.map(lambda path: trouble(helm, path), every) if found] == []
