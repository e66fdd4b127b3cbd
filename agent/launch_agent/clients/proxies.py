"""Which proxy and which certificate authorities a request uses, worked out from an environment mapping.

The mapping is passed in (the composition hands over `os.environ`), so nothing here depends on when it is
imported. The variables are the ones that curl, git and pip read: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`,
`NO_PROXY` in either case (lower case wins, as in curl), `SSL_CERT_FILE` and `REQUESTS_CA_BUNDLE`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def ca_file(environment: Mapping[str, str]) -> str:
    """Path of the PEM bundle to trust in place of the system's; empty where none is named."""
    return next((environment[name] for name in CA_VARIABLES if environment.get(name)), "")


def proxy_for(url: str, environment: Mapping[str, str]) -> str:
    """URL of the proxy for `url`; empty where the request goes out directly."""
    target = urlsplit(url)
    if _bypassed(target.hostname or "", target.port, _either_case(environment, "no_proxy")):
        return ""
    proxy = _either_case(environment, f"{target.scheme}_proxy") or _either_case(environment, "all_proxy")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _either_case(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _bypassed(host: str, port: int | None, rules: str) -> bool:
    return any(_rule_covers(rule.strip().lower(), host.lower(), port) for rule in rules.split(","))


def _rule_covers(rule: str, host: str, port: int | None) -> bool:
    """A rule is `*`, a host, a domain with all below it (`.a.b` and `a.b` alike), an address or a CIDR
    range; a host may carry a port."""
    if not rule or not host:
        return False
    if rule == "*":
        return True
    if _in_network(host, rule):
        return True
    name, colon, number = rule.rpartition(":")
    if colon and number.isdigit() and "]" not in number and (name.count(":") == 0 or name.endswith("]")):
        if port != int(number):
            return False
        rule = name
    rule = rule.strip("[]").removeprefix("*").lstrip(".")
    return host == rule or host.endswith(f".{rule}")


def _in_network(host: str, rule: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule.strip("[]"), strict=False)
    except ValueError:
        return False
