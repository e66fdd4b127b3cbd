"""What resource args for `docker run` may say: the table of what anybody may have; the rest is refused.

An allow-list, because Docker grows options: a new one stays shut until somebody has looked at it. Values are
looked at where the same option can harden or open, such as `network: none` and `network: host`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from launch_agent.spec.docker_keys import canonical
from launch_agent.spec.policy.rules import SECURE_CURE, SECURE_WHY, Demand, texts

RESOURCE = "local-container"


def _any(_: Any) -> bool:
    return True


def _one_of(*harmless: str) -> Callable[[Any], bool]:
    return lambda value: texts(value)[:1] in {(text,) for text in harmless}


def _not_root(value: Any) -> bool:
    """A user by number that is not 0. A name could be root in the image's own list of users."""
    return re.fullmatch(r"0*[1-9][0-9]*(:0*[1-9][0-9]*)?", str(value)) is not None


# Option -> whether a value of it is harmless. Not here, so refused: volume, mount, device, privileged,
# cap-add, runtime, env-file (reads a file of the agent), label (could claim another job's identity), …
HARMLESS: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        # what runs
        "command": _any,
        "entrypoint": _any,
        "pull": _any,
        "env": _any,
        "name": _any,
        "platform": _any,
        "workdir": _any,
        "init": _any,
        "tty": _any,
        "hostname": _any,
        "stop-signal": _any,
        "stop-timeout": _any,
        # how much it may use
        "cpus": _any,
        "cpu-period": _any,
        "cpu-quota": _any,
        "cpu-shares": _any,
        "cpuset-cpus": _any,
        "cpuset-mems": _any,
        "gpus": _any,
        "memory": _any,
        "memory-reservation": _any,
        "memory-swap": _any,
        "memory-swappiness": _any,
        "pids-limit": _any,
        "shm-size": _any,
        "tmpfs": _any,
        "ulimit": _any,
        # what makes it smaller
        "cap-drop": _any,
        "read-only": _any,
        "rm": _any,
        "security-opt": _one_of("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"),
        "network": _one_of("none", "bridge", "default"),
        "ipc": _one_of("none", "private"),
        "cgroupns": _one_of("private"),
        "privileged": _one_of("false"),
        "publish-all": _one_of("false"),
        "user": _not_root,
    }
)


# What secure mode shuts on top, whatever `allow` says: the image's own command is to run.
SHUT_IN_SECURE_MODE = frozenset({"command", "entrypoint"})


def demands(resource_args: Mapping[str, Any], *, secure_mode: bool) -> Iterator[Demand]:
    """What the resource args of a local-container job ask for beyond the table."""
    for spelt, value in resource_args.items():
        option = canonical(str(spelt))
        path = f"resource_args.{RESOURCE}.{spelt}"
        if secure_mode and option in SHUT_IN_SECURE_MODE:
            yield Demand(resource=RESOURCE, key=option, path=path, why=SECURE_WHY, closed=SECURE_CURE)
        harmless = HARMLESS.get(option)
        refused = [item for item in _items(value) if harmless is None or not harmless(item)]
        if refused:
            yield Demand(
                resource=RESOURCE,
                key=option,
                path=path,
                why=_why(option, known=harmless is not None),
                values=texts(refused),
            )


def _items(value: Any) -> Sequence[Any]:
    """The values of an option that may be given more than once; null and an empty list ask for nothing."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _why(option: str, *, known: bool) -> str:
    if known:
        return f"sets docker's --{option} to a value that weakens the container's isolation"
    return f"sets docker's --{option}, which is not among the options that any job may set"
