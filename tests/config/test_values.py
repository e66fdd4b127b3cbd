"""Values files of any kind are judged without a crash, at the right place, and without a word of a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.cli.report import FORMS, RULES, render
from launch_agent.config import schema
from launch_agent.config.finding import Finding, Path
from launch_agent.config.judge import Kind, judge, judge_merged, layer
from launch_agent.config.values import recognise

FILE = "values.yaml"
OPEN = {"launchConfig", "agentConfig"}
PROPERTIES = {path: part for path, part in schema.properties("chart-values") if path[0] not in OPEN}

# Texts that JSON and YAML write alike; test_document.py has the others.
texts = st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | texts
junk: st.SearchStrategy[Any] = st.one_of(
    scalars, st.lists(scalars, max_size=2), st.dictionaries(texts, scalars | st.lists(scalars), max_size=2)
)


def _mapping(known: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Mappings with the schema's keys, and values or junk below them. A few keys at a time: one example
    then takes a millisecond."""
    keys = {
        key: junk | _mapping(part) if part.get("properties") else junk
        for key, part in known["properties"].items()
    }
    chosen = st.lists(st.sampled_from(sorted(keys)), max_size=4, unique=True)
    return chosen.flatmap(lambda some: st.fixed_dictionaries({key: keys[key] for key in some}))


some_values = _mapping(schema.load("chart-values"))


def judged(value: Any) -> list[Finding]:
    return judge(json.dumps(value, indent=1).encode(), file=FILE, kind=Kind.CHART_VALUES)


@given(some_values)
def test_no_values_crash_the_checks(value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=1)
    for finding in judge(text.encode(), file=FILE, kind=Kind.CHART_VALUES):
        assert finding.code in RULES
        assert 1 <= finding.line <= text.count("\n") + 1


@given(st.lists(some_values, min_size=1, max_size=3))
def test_no_layers_crash_the_checks(values: list[dict[str, Any]]) -> None:
    layers = [layer(json.dumps(value).encode(), file=str(number)) for number, value in enumerate(values)]
    found = judge_merged(layers)
    assert list(found) == [each.file for each in layers]
    for form in FORMS:
        render(found, form)


@given(st.text(max_size=80), st.sampled_from(["|", ">", "'", '"', None]))
def test_no_text_of_a_config_crashes_the_checks(text: str, style: str | None) -> None:
    data = yaml.dump({"launchConfig": text}, default_style=style, allow_unicode=True)
    for finding in judge(data.encode(), file=FILE):
        assert 1 <= finding.line <= len(data.splitlines()) + 1


def _wrong(part: dict[str, Any]) -> Any:
    """A value that is of none of the part's types."""
    types = [part["type"]] if isinstance(part["type"], str) else part["type"]
    candidates: dict[str, Any] = {
        "array": [0],
        "object": {"a": 1},
        "string": "a",
        "boolean": True,
        "number": 1.5,
    }
    unfit = set(types) | ({"number"} if "integer" in types else set())
    return next(value for kind, value in candidates.items() if kind not in unfit)


@pytest.mark.req("CARD-6", "CARD-9")
@pytest.mark.parametrize("path", PROPERTIES, ids=".".join)
def test_a_value_of_a_wrong_type_is_found_where_it_stands(path: Path) -> None:
    wrong = _wrong(PROPERTIES[path])
    value: Any = wrong
    for key in reversed(path):
        value = {key: value}
    text = "# a comment\n" + json.dumps(value, indent=1)
    found = judge(text.encode(), file=FILE, kind=Kind.CHART_VALUES)
    (finding,) = [each for each in found if each.code == "wrong-type"]
    assert finding.path == path
    line = text.splitlines()[finding.line - 1]
    assert line[finding.column - 1 :].startswith(json.dumps(wrong)[0])


@pytest.mark.req("SEC-1")
def test_the_key_of_a_service_account_is_recommended() -> None:
    assert "service account is best" in PROPERTIES["agent", "apiKey"]["description"]


@pytest.mark.req("SEC-4")
@given(st.from_regex(r"[a-zA-Z0-9]{20,40}", fullmatch=True), st.data())
def test_no_report_holds_a_credential(secret: str, data: st.DataObject) -> None:
    wraps = [str, lambda text: [text], lambda text: {"a": text}, lambda text: f"https://u:{text}@host/a b"]
    wrap: Any = data.draw(st.sampled_from(wraps))
    value = {
        "agent": {"apiKey": wrap(secret)},
        "gitCreds": wrap(secret),
        "azureStorageAccessKey": wrap(secret),
        "additionalSecretEnvVars": data.draw(
            st.sampled_from([{"A": wrap(secret)}, [{"name": "A", "value": wrap(secret)}]])
        ),
        "proxy": {"https": wrap(secret)},
    }
    found = {FILE: judged(value)}
    for form in FORMS:
        assert secret not in render(found, form)


VALUES = {"launchConfig": {"queues": ["gpu"]}}
FLUX = {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease"}
ARGO = {"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet"}
SOURCES = {"sources": [{"ref": "a"}, {"helm": {"valuesObject": VALUES}}]}


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        (VALUES, [()]),
        ({"agent-gpu": VALUES, "global": {}, "agent-cpu": VALUES}, [("agent-gpu",), ("agent-cpu",)]),
        ({**FLUX, "spec": {"values": VALUES}}, [("spec", "values")]),
        (
            {**ARGO, "spec": {"template": {"spec": SOURCES}}},
            [("spec", "template", "spec", "sources", 1, "helm", "valuesObject")],
        ),
        ({"apiVersion": "v1", "kind": "ConfigMap", "data": VALUES}, []),
        ({"apiVersion": {"a": 1}, "kind": {"b": 1}}, []),
        ({"suite": "a", "set": VALUES, "tests": [{"set": VALUES}]}, []),
        ({"a": {"b": VALUES}}, []),
    ],
)
def test_values_are_found_wherever_they_stand(value: dict[str, Any], paths: list[Path]) -> None:
    assert recognise.parts(value) == paths


def _leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path


@pytest.mark.req("CHART-13", "CHART-14")
@given(
    st.fixed_dictionaries(
        {"queues": st.lists(st.text("abc", min_size=1), max_size=2, unique=True)},
        optional={"max_jobs": junk, "builder": junk, "environment": junk, "polcy": junk},
    )
)
def test_text_and_mapping_are_judged_alike(config: dict[str, Any]) -> None:
    """But for what only a text can be: without queues for good."""
    text = json.dumps(config, indent=1)
    block = "".join(f"  {line}\n" for line in text.splitlines())
    as_text = judge(f"launchConfig: |\n{block}".encode(), file=FILE)
    as_mapping = judge(f"launchConfig:\n{block}".encode(), file=FILE)

    def said(found: list[Finding]) -> list[tuple[Any, ...]]:
        return [(each.line, each.column, each.key, each.message) for each in found if each.code != "no-queue"]

    assert said(as_text) == said(as_mapping)
