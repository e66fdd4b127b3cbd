"""The options of `docker run` that resource args may hold, in one table.

A key is spelt as at the command line (`--shm-size`, `shm-size`, `shm_size`, `m`); the table says where its
value belongs in the Engine API's request and how it is read. Nothing here decides what a job may have: that
is the policy's, which knows the keys by the same names (`spec.docker_keys`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from launch_agent.errors import SubmitRejected
from launch_agent.runners.docker import values as v
from launch_agent.runners.env import PAIRS_FORM, pairs
from launch_agent.spec.docker_keys import canonical
from launch_agent.spec.identity import MANAGED_BY, PREFIX

_SHOWN = 80  # characters of a wrong value in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """`config` and `host` are parts of the Engine API's create request, `host` its HostConfig."""

    config: Mapping[str, Any] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    platform: str = ""
    pull: str = ""


@dataclass(frozen=True, slots=True)
class _Option:
    """Where a value goes (`host.`: a key of HostConfig; `config.`: of the request; `own.`: of Arguments) and
    how it is read. `form` completes "expected …"."""

    place: str
    read: Callable[[object], Any]
    form: str


_TEXT, _TEXTS, _NUMBER, _SWITCH = "a text", "a text or a list of texts", "a whole number", "true or false"
_SIZE = "a size such as 512m or 16g"

OPTIONS: Mapping[str, _Option] = {
    # what runs
    "entrypoint": _Option(
        "config.Entrypoint", v.words, "a program, or a list of a program and its arguments"
    ),
    "command": _Option("config.Cmd", v.words, "a list of arguments"),
    "env": _Option("own.env", pairs, f"{PAIRS_FORM}; a name alone would pass on the agent's own environment"),
    "workdir": _Option("config.WorkingDir", v.text, "a path"),
    "user": _Option("config.User", v.text, "a user, or USER:GROUP"),
    "group-add": _Option("host.GroupAdd", v.texts, _TEXTS),
    "platform": _Option("own.platform", v.text, "a platform such as linux/amd64"),
    "pull": _Option("own.pull", v.text, "missing, always or never"),
    "name": _Option("own.name", v.text, "a name of letters, digits, '_', '.' and '-'"),
    "label": _Option("own.labels", v.optional_pairs, PAIRS_FORM),
    "hostname": _Option("config.Hostname", v.text, "a host name"),
    "domainname": _Option("config.Domainname", v.text, "a domain name"),
    "tty": _Option("config.Tty", v.switch, _SWITCH),
    "init": _Option("host.Init", v.switch, _SWITCH),
    "stop-signal": _Option("config.StopSignal", v.text, "a signal such as SIGINT"),
    "stop-timeout": _Option("config.StopTimeout", v.integer, "a whole number of seconds"),
    # how much it may use
    "memory": _Option("host.Memory", v.size, _SIZE),
    "memory-reservation": _Option("host.MemoryReservation", v.size, _SIZE),
    "memory-swap": _Option("host.MemorySwap", v.size_or_unlimited, f"{_SIZE}, or -1 for no limit"),
    "memory-swappiness": _Option("host.MemorySwappiness", v.integer, "a whole number from 0 to 100"),
    "shm-size": _Option("host.ShmSize", v.size, _SIZE),
    "cpus": _Option("host.NanoCpus", v.nano_cpus, "a number of CPUs such as 1.5"),
    "cpu-period": _Option("host.CpuPeriod", v.integer, "microseconds"),
    "cpu-quota": _Option("host.CpuQuota", v.integer, "microseconds"),
    "cpu-rt-period": _Option("host.CpuRealtimePeriod", v.integer, "microseconds"),
    "cpu-rt-runtime": _Option("host.CpuRealtimeRuntime", v.integer, "microseconds"),
    "cpu-shares": _Option("host.CpuShares", v.integer, _NUMBER),
    "cpuset-cpus": _Option("host.CpusetCpus", v.text, "CPUs such as 0-3 or 0,2"),
    "cpuset-mems": _Option("host.CpusetMems", v.text, "memory nodes such as 0-1"),
    "pids-limit": _Option("host.PidsLimit", v.integer, f"{_NUMBER}, or -1 for no limit"),
    "ulimit": _Option("host.Ulimits", v.ulimits, "NAME=SOFT[:HARD], or a list of these"),
    "blkio-weight": _Option("host.BlkioWeight", v.integer, "a whole number from 10 to 1000"),
    "oom-kill-disable": _Option("host.OomKillDisable", v.switch, _SWITCH),
    "oom-score-adj": _Option("host.OomScoreAdj", v.integer, _NUMBER),
    "storage-opt": _Option("host.StorageOpt", pairs, PAIRS_FORM),
    "gpus": _Option("host.DeviceRequests", v.gpus, "all, a number, 'device=0,1', or a mapping of these"),
    # what it sees
    "volume": _Option(
        "host.Binds", v.volumes, "/absolute/path:/target[:ro] or volume-name:/target, or a list"
    ),
    "volumes-from": _Option("host.VolumesFrom", v.texts, _TEXTS),
    "mount": _Option("host.Mounts", v.mounts, "type=bind,source=/a,target=/b[,readonly], or a list of these"),
    "tmpfs": _Option("host.Tmpfs", v.tmpfs, "/path[:options], or a list of these"),
    "device": _Option("host.Devices", v.devices, "/dev/path[:/path/inside[:rwm]], or a list of these"),
    "device-cgroup-rule": _Option("host.DeviceCgroupRules", v.texts, _TEXTS),
    "read-only": _Option("host.ReadonlyRootfs", v.switch, _SWITCH),
    "network": _Option("host.NetworkMode", v.text, "the name of a network"),
    "publish": _Option("host.PortBindings", v.ports, "[[ADDRESS:]PORT:]PORT[/tcp|udp], or a list of these"),
    "publish-all": _Option("host.PublishAllPorts", v.switch, _SWITCH),
    "add-host": _Option("host.ExtraHosts", v.hosts, "NAME:ADDRESS, a list of these, or a mapping"),
    "dns": _Option("host.Dns", v.texts, _TEXTS),
    "dns-search": _Option("host.DnsSearch", v.texts, _TEXTS),
    "dns-option": _Option("host.DnsOptions", v.texts, _TEXTS),
    # how far it is apart from the machine
    "privileged": _Option("host.Privileged", v.switch, _SWITCH),
    "cap-add": _Option("host.CapAdd", v.texts, _TEXTS),
    "cap-drop": _Option("host.CapDrop", v.texts, _TEXTS),
    "security-opt": _Option("host.SecurityOpt", v.texts, _TEXTS),
    "sysctl": _Option("host.Sysctls", pairs, PAIRS_FORM),
    "runtime": _Option("host.Runtime", v.text, "the name of a runtime"),
    "ipc": _Option("host.IpcMode", v.text, _TEXT),
    "pid": _Option("host.PidMode", v.text, _TEXT),
    "uts": _Option("host.UTSMode", v.text, _TEXT),
    "userns": _Option("host.UsernsMode", v.text, _TEXT),
    "cgroupns": _Option("host.CgroupnsMode", v.text, _TEXT),
    "cgroup-parent": _Option("host.CgroupParent", v.text, _TEXT),
}

# Options of `docker run` that make no sense here, with the reason.
_NOT_HERE: Mapping[str, str] = {
    "restart": "the agent follows a run to its end; a container that starts again would have none",
    "interactive": "nobody is at the terminal of a run",
    "attach": "the agent reads the output from the engine's log",
    "detach": "runs are always detached",
    "env-file": "it names a file of the agent's machine; use env",
    "label-file": "it names a file of the agent's machine; use label",
    "cidfile": "it names a file of the agent's machine",
    "log-driver": "the agent reads the log through the engine's default driver",
    "log-opt": "the agent reads the log through the engine's default driver",
    "link": "Docker has given links up; use network",
}
# `builder` is for the image; `rm` is what the agent does in any case, unless its config says keep.
_IGNORED = frozenset({"builder", "rm"})


def parse(resource_args: Mapping[str, Any]) -> Arguments:
    """What resource args ask of the engine. A key whose value is null counts as not given.

    Raises SubmitRejected naming the key, the value and the expected form, or the nearest known key.
    """
    parts: dict[str, dict[str, Any]] = {"config": {}, "host": {}, "own": {}}
    spelt: dict[str, str] = {}
    for key, value in resource_args.items():
        name = canonical(str(key))
        if value is None or name in _IGNORED:
            continue
        option = OPTIONS.get(name) or _unknown(str(key), name)
        if name in spelt:
            raise SubmitRejected(f"{_path(str(key))}: the same option is given as {spelt[name]!r} too")
        spelt[name] = str(key)
        part, _, place = option.place.partition(".")
        parts[part][place] = _read(str(key), name, option, value)
    _check_own(parts["own"])
    return Arguments(config=parts["config"], host=parts["host"], **parts["own"])


def _read(key: str, name: str, option: _Option, value: Any) -> Any:
    try:
        return option.read(value)
    except (ValueError, OverflowError) as error:
        # The value of a variable may be a credential.
        shown = "the value" if name == "env" else f"{str(value)[:_SHOWN]!r}"
        raise SubmitRejected(f"{_path(key)}: {shown} is not of the form expected: {option.form}") from error


def _check_own(own: Mapping[str, Any]) -> None:
    for label in own.get("labels", {}):
        if label.startswith(PREFIX) or label == MANAGED_BY:
            raise SubmitRejected(f"{_path('label')}: {label!r} is one of the agent's own labels")
    if own.get("pull", "missing") not in ("missing", "always", "never"):
        raise SubmitRejected(f"{_path('pull')}: {own['pull']!r} is not missing, always or never")


def _unknown(key: str, name: str) -> _Option:
    if name in _NOT_HERE:
        raise SubmitRejected(f"{_path(key)} cannot be set: {_NOT_HERE[name]}")
    near = difflib.get_close_matches(name, OPTIONS, n=1)
    raise SubmitRejected(
        f"{_path(key)} is not an option of `docker run` that the agent knows",
        hint=f"did you mean {near[0]!r}?" if near else "",
    )


def _path(key: str) -> str:
    return f"resource_args.local-container.{key}"
