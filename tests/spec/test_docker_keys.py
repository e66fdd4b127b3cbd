"""One name for each Docker option, however it is spelt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.spec.docker_keys import ALIASES, canonical


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("v", "volume"),
        ("-v", "volume"),
        ("--volume", "volume"),
        ("shm_size", "shm-size"),
        ("--shm-size", "shm-size"),
        ("--SHM-Size", "shm-size"),
        ("m", "memory"),
        ("net", "network"),
        ("cpu", "cpus"),
        ("P", "publish-all"),
        ("p", "publish"),
        ("V", "v"),
        (" privileged ", "privileged"),
        ("cap_add", "cap-add"),
    ],
)
def test_spellings(spelt: str, name: str) -> None:
    assert canonical(spelt) == name


@given(st.text(alphabet="abcmvuPV-_ ", max_size=8))
def test_a_canonical_name_without_an_alias_is_its_own(text: str) -> None:
    name = canonical(text)
    if name not in ALIASES and name == name.strip() and not name.startswith("-"):
        assert canonical(name) == name


def test_no_alias_leads_to_an_alias() -> None:
    assert not set(ALIASES.values()) & set(ALIASES)
