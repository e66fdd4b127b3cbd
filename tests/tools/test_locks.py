"""The lock check sees what is missing, too old, without a hash, or from an address."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from tools.locks import LOCKS, ROOT, Lock, check, file_requirements, main, project_requirements

GOOD = "click==8.1.7 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via me\n"


def test_the_repository_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    status = main()
    assert status == 0, capsys.readouterr().err


def test_a_lock_that_fits_has_no_findings() -> None:
    assert list(check([Requirement("click>=8.1")], GOOD)) == []
    assert list(check([Requirement("Click")], f"# a comment\n{GOOD}")) == []


@pytest.mark.parametrize(
    ("wanted", "text", "said"),
    [
        ("rich", GOOD, "rich is wanted, nothing is locked"),
        ("click>=9", GOOD, "click>=9 is wanted, 8.1.7 is locked"),
        ("click", "click==8.1.7\n", "click has no hash"),
        ("click", "--index-url https://example.com/simple\n" + GOOD, "'--index-url' is not a version"),
        ("click", GOOD + "tool @ https://example.com/tool.whl \\\n    --hash=sha256:aa\n", "'tool' is not"),
        ("click", GOOD + "-e .\n", "'-e' is not a version"),
    ],
)
def test_a_lock_that_does_not_fit_is_named(wanted: str, text: str, said: str) -> None:
    assert any(said in finding for finding in check([Requirement(wanted)], text))


def test_markers_may_divide_versions() -> None:
    divided = (
        "numpy==1.26 ; python_version < '3.12' \\\n    --hash=sha256:aa\n"
        "numpy==2.1 ; python_version >= '3.12' \\\n    --hash=sha256:bb\n"
    )
    assert list(check([Requirement("numpy>=2")], divided)) == []


def test_extras_that_name_the_project_are_followed() -> None:
    project: dict[str, object] = {
        "name": "launch-agent",
        "dependencies": ["click"],
        "optional-dependencies": {"dev": ["launch-agent[docker]", "pytest"], "docker": ["docker>=7"]},
    }
    names = [requirement.name for requirement in project_requirements(project, ["dev"])]
    assert sorted(names) == ["click", "docker", "pytest"]


def test_inputs_may_hold_comments() -> None:
    (one,) = file_requirements("# why\n\nhatchling>=1.27  # builds\n")
    assert one.name == "hatchling"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.path)
def test_no_lock_names_an_address(lock: Lock) -> None:
    text = (ROOT / lock.path).read_text(encoding="utf-8")
    assert "://" not in text
