"""The agent's proxy for the steps of a build, as the build arguments that every builder of Dockerfiles knows.

A Dockerfile need not declare them, and they are in no history and no cache key of an image. A proxy on a
loopback address is the agent's machine's own: the steps of a build have a loopback of theirs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from launch_agent.spec.secret import Secret

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")
_EXCEPT = "no_proxy"


def build_arguments(environment: Mapping[str, str]) -> dict[str, Secret]:
    """By name, in both spellings: programs read either. An address may hold a password."""
    found: dict[str, Secret] = {}
    for name in (*_PROXIES, _EXCEPT):
        value = (environment.get(name) or environment.get(name.upper()) or "").strip()
        if value and (name == _EXCEPT or not _is_own(value)):
            found[name] = found[name.upper()] = Secret(value)
    return found if any(name in found for name in _PROXIES) else {}


def discreet(arguments: Mapping[str, Secret]) -> Callable[[str], str]:
    """What takes the logins of these addresses out of a line that a build has printed."""
    logins = {
        login for value in arguments.values() if (login := urlsplit(value.reveal()).netloc.rpartition("@")[0])
    }
    passwords = {password for login in logins if (password := login.partition(":")[2])}

    def without(line: str) -> str:
        for secret in (*logins, *passwords):
            line = line.replace(secret, "***")
        return line

    return without


def _is_own(address: str) -> bool:
    try:
        host = urlsplit(address if "://" in address else f"http://{address}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
