"""What the agent's own pod hands on to what it starts."""

from __future__ import annotations

import pytest

from launch_agent.errors import ConfigError
from launch_agent.spec.passon import PassOn, from_environment
from launch_agent.spec.secret import Secret

PROXY = "http://proxy.example.com:3128"


def test_an_agent_that_is_told_nothing_passes_nothing_on() -> None:
    assert from_environment({"HTTPS_PROXY": PROXY, "PATH": "/bin"}) == PassOn()


def test_the_variables_that_are_named_and_set_are_passed_on() -> None:
    found = from_environment(
        {
            "LAUNCH_AGENT_PASS_ON": "HTTP_PROXY, HTTPS_PROXY,NO_PROXY,",
            "HTTPS_PROXY": PROXY,
            "NO_PROXY": ".svc",
        }
    )
    assert found == PassOn(env={"HTTPS_PROXY": PROXY, "NO_PROXY": ".svc"})


def test_a_proxy_with_a_password_is_a_secret() -> None:
    address = "http://user:pass@proxy:3128"
    found = from_environment({"LAUNCH_AGENT_PASS_ON": "HTTPS_PROXY", "HTTPS_PROXY": address})
    assert found == PassOn(secret_env={"HTTPS_PROXY": Secret(address)})
    assert "pass" not in repr(found)


@pytest.mark.parametrize("place", ["bundle", "/ca.crt", "bundle/"])
def test_a_place_of_authorities_that_is_none_is_named(place: str) -> None:
    with pytest.raises(ConfigError, match="NAME/KEY"):
        from_environment({"LAUNCH_AGENT_CA_CONFIGMAP": place})
