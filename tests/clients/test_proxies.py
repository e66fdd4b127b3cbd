"""Proxies and CA bundles are found as curl finds them, in the mapping that is passed in."""

from __future__ import annotations

import pytest

from launch_agent.clients import proxies

PROXY = {"HTTPS_PROXY": "http://proxy:3128", "http_proxy": "proxy:8080"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [("https://api.example.com/graphql", "http://proxy:3128"), ("http://a.example.com", "http://proxy:8080")],
)
def test_a_proxy_belongs_to_the_scheme(url: str, expected: str) -> None:
    assert proxies.proxy_for(url, PROXY) == expected


def test_lower_case_wins_and_all_proxy_is_the_last_resort() -> None:
    environment = {"https_proxy": "http://small", "HTTPS_PROXY": "http://big", "ALL_PROXY": "http://all"}
    assert proxies.proxy_for("https://x", environment) == "http://small"
    assert proxies.proxy_for("http://x", environment) == "http://all"


@pytest.mark.parametrize(
    ("rule", "url", "direct"),
    [
        ("*", "https://api.example.com", True),
        ("example.com", "https://api.example.com", True),
        (".example.com", "https://api.example.com", True),
        ("*.example.com", "https://api.example.com", True),
        ("example.com", "https://badexample.com", False),
        ("API.example.com", "https://api.EXAMPLE.com", True),
        ("other, 10.0.0.0/8", "https://10.1.2.3:6443", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("[::1]", "https://[::1]:8080", True),
        ("::1", "https://[::1]:8080", True),
        ("localhost:8080", "https://localhost:8080", True),
        ("localhost:8080", "https://localhost:9090", False),
        ("", "https://localhost", False),
        ("svc.cluster.local,", "https://queue.launch.svc.cluster.local", True),
    ],
)
def test_no_proxy(rule: str, url: str, *, direct: bool) -> None:
    assert (proxies.proxy_for(url, {**PROXY, "NO_PROXY": rule}) == "") is direct


def test_the_first_ca_variable_that_is_set_counts() -> None:
    assert proxies.ca_file({}) == ""
    assert proxies.ca_file({"REQUESTS_CA_BUNDLE": "/b"}) == "/b"
    assert proxies.ca_file({"REQUESTS_CA_BUNDLE": "/b", "SSL_CERT_FILE": "/a"}) == "/a"
    assert proxies.ca_file({"REQUESTS_CA_BUNDLE": "/b", "SSL_CERT_FILE": ""}) == "/b"
