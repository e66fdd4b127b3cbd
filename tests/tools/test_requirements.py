"""The report of promises finds claims wherever a test can make them, and refuses what nobody promised."""

from __future__ import annotations

import pytest

from tools.requirements import ROOT as HERE
from tools.requirements import Claim, Promise, claims, promises, python_claims, report, yaml_claims

TABLE = 'id\tgroup\trequirement\nCFG-1\tConfig\tA file.\nCFG-2\tConfig\tA path with | and "quotes".\n'


def test_the_table_is_read_by_id() -> None:
    table = promises(TABLE)
    assert table["CFG-2"] == Promise(id="CFG-2", group="Config", text='A path with | and "quotes".')


def test_claims_are_found_on_functions_modules_and_parameters() -> None:
    text = (
        "import pytest\n"
        "pytestmark = pytest.mark.req('A-1')\n"
        "@pytest.mark.req('A-2', 'A-3')\n"
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.req('A-4'))])\n"
        "def test(x): pass\n"
    )
    found = list(python_claims(text, "t.py"))
    assert {claim.id for claim in found} == {"A-1", "A-2", "A-3", "A-4"}
    assert Claim(id="A-1", place="t.py:2") in found


def test_a_claim_that_is_not_written_out_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"t\.py:1"):
        list(python_claims("pytest.mark.req(*IDS)", "t.py"))


def test_yaml_claims_are_comments() -> None:
    text = "suite: labels\n# req: CHART-3, CHART-4\ntests: []  # req: K8S-1\n# requires nothing\n"
    assert [claim.id for claim in yaml_claims(text, "t.yaml")] == ["CHART-3", "CHART-4", "K8S-1"]


def test_the_report_counts_and_names_what_is_open() -> None:
    lines = list(report(promises(TABLE), [Claim(id="CFG-2", place="t.py:1")], verbose=False))
    assert lines[0].split() == ["CFG", "1/2", "Config"]
    assert lines[1].split() == ["open:", "CFG-1"]
    assert lines[-1].split() == ["all", "1/2"]


def test_the_verbose_report_says_where() -> None:
    text = "\n".join(report(promises(TABLE), [Claim(id="CFG-2", place="t.py:1")], verbose=True))
    assert "t.py:1" in text
    assert "A file." in text


def test_no_test_here_claims_what_nobody_promised() -> None:
    known = promises((HERE / "tests" / "requirements.tsv").read_text(encoding="utf-8"))
    assert len(known) == 306 + 39 + 25 + 9  # promises, decisions, choices, the shape
    assert [claim for claim in claims(HERE) if claim.id not in known] == []
