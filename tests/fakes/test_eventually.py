"""The polling helper returns what it saw, fails with what it last saw, and accepts asserting probes."""

from __future__ import annotations

import pytest

from tests.fakes.eventually import eventually


def test_returns_the_first_true_value() -> None:
    values = iter([0, "", None, "ready"])
    assert eventually(lambda: next(values), every=0) == "ready"


def test_an_assertion_is_not_yet_and_is_chained_at_the_end() -> None:
    def probe() -> bool:
        raise AssertionError("nobody home")

    with pytest.raises(AssertionError, match=r"the door: not within 0\.01 s; last: nobody home") as failure:
        eventually(probe, within=0.01, every=0.001, what="the door")
    assert "nobody home" in str(failure.value.__cause__)


def test_other_errors_are_not_swallowed() -> None:
    def probe() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        eventually(probe)
