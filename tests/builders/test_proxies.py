"""Builds get the proxy that leads out, and tell nobody its password."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from launch_agent.builders.proxies import build_arguments, discreet


@pytest.mark.parametrize(("environment", "names"), [
    ({}, set()),
    ({"NO_PROXY": "x"}, set()),  # of no use without a proxy
    ({"http_proxy": "http://localhost:1"}, set()),
    ({"http_proxy": "127.0.0.1:1", "all_proxy": "[::1]:1"}, set()),
    ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "x"}, {"http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"}),
    ({"https_proxy": "p:1", "HTTPS_PROXY": ""}, {"https_proxy", "HTTPS_PROXY"}),
])  # fmt: skip
def test_what_builds_get(environment: Mapping[str, str], names: set[str]) -> None:
    assert set(build_arguments(environment)) == names


def test_a_password_is_taken_out_of_what_is_printed() -> None:
    found = build_arguments({"http_proxy": "http://user:swordfish@p:1"})
    assert "swordfish" not in repr(found)
    hide = discreet(found)
    assert hide("via http://user:swordfish@p:1 and swordfish") == "via http://***@p:1 and ***"
    assert discreet({})("as it is") == "as it is"
