"""One name for each option of `docker run`, however the resource args spell it.

Resource args may say `v`, `--volume` or `shm_size`; the policy that refuses an option and the runner that
carries it out must not disagree on what is meant. Both ask `canonical` and know the long names alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# The short and the older spellings that `docker run --help` knows, and `cpu`, which W&B's documents use.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "a": "attach",
        "c": "cpu-shares",
        "cpu": "cpus",
        "d": "detach",
        "dns-opt": "dns-option",
        "e": "env",
        "h": "hostname",
        "i": "interactive",
        "l": "label",
        "m": "memory",
        "net": "network",
        "net-alias": "network-alias",
        "P": "publish-all",
        "p": "publish",
        "q": "quiet",
        "t": "tty",
        "u": "user",
        "v": "volume",
        "w": "workdir",
    }
)


def canonical(key: str) -> str:
    """The long name of an option: no leading dashes, dashes for underscores, lower case (but for `P`)."""
    name = key.strip().lstrip("-").replace("_", "-")
    if len(name) > 1:
        name = name.lower()
    return ALIASES.get(name, name.lower())
