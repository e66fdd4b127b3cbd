"""Helm 3 renders what Helm 4 renders, and refuses what it refuses."""

from __future__ import annotations

import pytest

from tests.chart.files import CASES, Case
from tests.chart.test_manifests import render
from tests.chart.test_messages import SCHEMA, TEMPLATES, Bad, message
from tests.fakes.helm import Helm


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_renders_the_same(helm: Helm, helm3: Helm, case: Case) -> None:
    assert render(helm3, case) == render(helm, case)


@pytest.mark.parametrize("bad", [SCHEMA[0], SCHEMA[3], TEMPLATES[0], TEMPLATES[4]], ids=lambda bad: bad.name)
def test_it_refuses_the_same(helm3: Helm, bad: Bad) -> None:
    # Without it, a Helm 3 that is built outside of its own Makefile assumes Kubernetes 1.20.
    said = message(helm3, bad, "template", "--kube-version", "1.37.2")
    assert all(words in said for words in bad.says), said
