"""What the linter says of values files is what Helm does with them."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from launch_agent.config.document import read
from launch_agent.config.finding import Severity
from launch_agent.config.judge import judge_merged, layer
from launch_agent.config.merge import merge
from tests.chart.files import CASES, ROOT, Case
from tests.fakes.helm import CHART, Helm, HelmFailed

GOLDEN = ROOT / "tests" / "golden" / "values"
# Below another chart or another program's object, or to be decrypted first: no values of Helm's own.
NOT_HELMS = {"note-encrypted-text", "ok-encrypted", "ok-flux", "ok-parent-chart"}
TEXTS = {"launchConfig", "agentConfig"}
KEY = ("--set", "agent.apiKey=0123456789")


def golden() -> list[Case]:
    folders = sorted(each for each in GOLDEN.iterdir() if each.name not in NOT_HELMS)
    return [Case(name=each.name, files=tuple(sorted(each.glob("*.yaml")))) for each in folders]


@pytest.mark.req("CARD-6", "CARD-9")
@pytest.mark.parametrize("case", [*CASES, *golden()], ids=lambda case: case.name)
def test_what_helm_refuses_is_an_error(helm: Helm, case: Case) -> None:
    """And what has no error installs, with the API key on the command line where lint misses one."""
    found = judge_merged([layer(file.read_bytes(), file=file.name) for file in case.files])
    every = list(chain.from_iterable(found.values()))
    errors = [each for each in every if each.severity is Severity.ERROR]
    key = KEY if any(each.message.startswith("there is no API key") for each in every) else ()
    refused = ""
    try:
        helm.run("template", "gpu", CHART, *case.flags(), *key)
    except HelmFailed as error:
        refused = str(error)
    if refused:
        assert errors or [each for each in every if each.code == "no-config"], refused
        return
    # Only linter and agent check the text of a launch config in full, and placeholders wherever they are.
    unexplained = [each for each in errors if each.path[0] not in TEXTS and each.code != "placeholder"]
    assert unexplained == []


keys = st.sampled_from("abcd")
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
layers = st.lists(st.dictionaries(keys, values, max_size=4), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def printer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart whose only object is its values."""
    chart = tmp_path_factory.mktemp("printer")
    (chart / "templates").mkdir()
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: printer\nversion: 0.1.0\n")
    (chart / "values.yaml").write_text("{}\n")
    (chart / "templates" / "values.yaml").write_text("values: {{ toJson .Values | quote }}\n")
    return chart


def merged_by_helm(helm: Helm, chart: Path, given_layers: list[dict[str, Any]]) -> Any:
    flags: list[str | Path] = []
    for number, each in enumerate(given_layers):
        file = chart / f"layer-{number}.yaml"
        file.write_text(json.dumps(each))
        flags += ["-f", file]
    said = yaml.safe_load(helm.run("template", "x", chart, *flags))
    return json.loads(said["values"])


scalars = (
    st.text("0123456789abxoeEyn+-._:", min_size=1, max_size=8)
    | st.from_regex(r"[-+]?0[xXoObB]?[0-9a-f_]{0,20}", fullmatch=True)
    | st.from_regex(r"[-+]?[0-9]{0,22}\.?[0-9]{0,3}([eE][-+]?[0-9]{1,3})?", fullmatch=True)
    | st.sampled_from(
        ["y", "n", "yes", "No", "on", "OFF", "true", "null", "~", "1_000", "1:30", "2026-01-02"]
    )
)


@settings(max_examples=20, deadline=None)
@given(st.lists(scalars, min_size=1, max_size=60))
def test_plain_scalars_are_what_helm_takes_them_for(helm: Helm, printer: Path, plain: list[str]) -> None:
    rows = [f"k{number}: {text}\n" for number, text in enumerate(plain) if _is_plain(text)]
    file = printer / "scalars.yaml"
    file.write_text("".join(rows) or "{}")
    theirs = yaml.safe_load(helm.run("template", "x", printer, "-f", file))["values"]
    ours = read(file.read_bytes(), file="f", for_helm=True).value
    # Helm hands numbers on as floats.
    assert {key: _as_float(value) for key, value in ours.items()} == json.loads(theirs, parse_int=float)
    # `==` takes 1 for true.
    assert {key: type(value) is bool for key, value in ours.items()} == {
        key: type(value) is bool for key, value in json.loads(theirs).items()
    }


def _as_float(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _is_plain(text: str) -> bool:
    """Whether YAML takes it for one plain scalar, and JSON has a number for it."""
    if text[:1] in ("-", ":", "") or text.endswith(":") or ": " in text:
        return text[1:2].isalnum() and not text.endswith(":")
    return True


@pytest.mark.req("CARD-8")
@settings(max_examples=30, deadline=None)
@given(given_layers=layers)
def test_files_are_merged_as_helm_merges_them(
    helm: Helm, printer: Path, given_layers: list[dict[str, Any]]
) -> None:
    documents = [read(json.dumps(each).encode(), file="f") for each in given_layers]
    assert merge(documents).value == merged_by_helm(helm, printer, given_layers)
