"""Docker options: a short list is open, everything else is shut, however it is spelt."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from launch_agent.errors import Refused
from launch_agent.spec.docker_keys import ALIASES, canonical
from launch_agent.spec.model import RunSpec
from launch_agent.spec.policy import Policy, check
from launch_agent.spec.policy.docker import HARMLESS

Allow = dict[str, Any]


def judge(args: dict[str, Any], allow: Allow | None = None, **policy: Any) -> None:
    spec = RunSpec(entity="e", project="p", resource="local-container", image="i", resource_args=args)
    check(spec, Policy(allow={"local-container": allow or {}}, **policy))


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"command": ["python", "t.py"], "e": {"A": "1"}, "env": ["B=2"], "w": "/app", "workdir": "/app"},
        {"cpus": 2, "cpu": 2, "cpu-period": 1, "cpu_quota": 1, "cpu-shares": 1, "cpuset-cpus": "0-1"},
        {"cpuset-mems": "0", "gpus": "all", "m": "1g", "memory": "1g", "memory-reservation": "1g"},
        {"memory-swap": "2g", "name": "x", "pids-limit": 10, "platform": "linux/amd64", "shm-size": "1g"},
        {"ulimit": ["nofile=1024"]},
        {"cap-drop": ["ALL"], "read-only": True, "security-opt": ["no-new-privileges"], "init": True},
        {"network": "none", "ipc": "private", "privileged": False, "user": "1000:1000"},
        {"security_opt": "no-new-privileges:true", "user": 1000, "net": "bridge", "tmpfs": "/run"},
        {"volume": [], "privileged": None},
    ],
)
def test_what_shapes_or_hardens_a_container_is_open(args: dict[str, Any]) -> None:
    judge(args)


@pytest.mark.parametrize(
    ("args", "opens"),
    [
        ({"volume": "/:/host"}, "volume: ['/:/host']"),
        ({"v": ["/a:/a", "/b:/b"]}, "volume: ['/a:/a', '/b:/b']"),
        ({"-v": "/a:/a"}, "volume: ['/a:/a']"),
        ({"mount": {"type": "bind", "source": "/"}}, "mount: true"),
        ({"network": "host"}, "network: [host]"),
        ({"--net": "host"}, "network: [host]"),
        ({"net": "container:other"}, "network: ['container:other']"),
        ({"network": True}, "network: true"),
        ({"network": {"name": "host"}}, "network: true"),
        ({"ipc": "host"}, "ipc: [host]"),
        ({"pid": "host"}, "pid: [host]"),
        ({"uts": "host"}, "uts: [host]"),
        ({"userns": "host"}, "userns: [host]"),
        ({"privileged": True}, "privileged: true"),
        ({"privileged": "true"}, "privileged: true"),
        ({"privileged": 1}, "privileged: ['1']"),
        ({"device": "/dev/kvm"}, "device: [/dev/kvm]"),
        ({"cap_add": ["SYS_ADMIN"]}, "cap-add: [SYS_ADMIN]"),
        ({"security-opt": ["no-new-privileges", "seccomp=unconfined"]}, "security-opt: [seccomp=unconfined]"),
        ({"security-opt": "no-new-privileges:false"}, "security-opt: ['no-new-privileges:false']"),
        ({"runtime": "runc"}, "runtime: [runc]"),
        ({"user": "root"}, "user: [root]"),
        ({"u": 0}, "user: ['0']"),
        ({"user": "00"}, "user: ['00']"),
        ({"user": "1000:0"}, "user: ['1000:0']"),
        ({"env-file": "/etc/shadow"}, "env-file: [/etc/shadow]"),
        ({"volumes-from": "other"}, "volumes-from: [other]"),
        ({"group-add": "docker"}, "group-add: [docker]"),
        ({"publish": "80:80"}, "publish: ['80:80']"),
        ({"P": True}, "publish-all: true"),
        ({"label": "launch-agent/item-id=x"}, "label: [launch-agent/item-id=x]"),
        ({"cgroup-parent": "/"}, "cgroup-parent: [/]"),
        ({"sysctl": "kernel.x=1"}, "sysctl: [kernel.x=1]"),
        ({"not an option": 1}, "not an option: ['1']"),
        ({"memory --privileged": "1g"}, "memory --privileged: [1g]"),
    ],
)
def test_what_reaches_outside_is_shut_and_the_refusal_says_what_opens_it(
    args: dict[str, Any], opens: str
) -> None:
    """openings K10, the same for Docker."""
    with pytest.raises(Refused) as raised:
        judge(args)
    assert f"resource_args.local-container.{next(iter(args))}" in raised.value.message
    assert f"`policy: {{allow: {{local-container: {{{opens}}}}}}}`" in raised.value.hint


def test_opened_for_any_value_or_for_those_that_match() -> None:
    judge({"privileged": True}, {"privileged": True})
    judge({"v": ["/data/a:/a", "/data/b:/b:ro"]}, {"volume": ["/data/*"]})
    judge({"--net": "host"}, {"net_work": ["host", "mine-*"]})
    for allow in ({"volume": ["/data/*"]}, {"volume": False}, {"volume": []}, {"network": True}):
        with pytest.raises(Refused):
            judge({"v": ["/data/a:/a", "/etc:/etc"]}, allow)


@pytest.mark.parametrize(
    "value",
    [
        "/data/../etc:/etc",
        "/data/..:/x",
        "/data/x/../../etc:/x:ro",
        "/data/${run_name}:/x",
        {"source": "/data/a"},
        [{"source": "/data/a"}],
        ["/data/a:/a", None],
        True,
    ],
)
def test_a_pattern_opens_no_value_that_could_come_to_mean_something_else(value: Any) -> None:
    with pytest.raises(Refused):
        judge({"volume": value}, {"volume": ["/data/*"]})
    judge({"volume": value}, {"volume": True})


def test_a_macro_is_no_harmless_value() -> None:
    for args in ({"network": "${run_name}"}, {"user": "${author}"}, {"ipc": "${run_id}"}):
        with pytest.raises(Refused):
            judge(args)


def test_secure_mode_leaves_the_command_to_the_image_whatever_is_allowed() -> None:
    for key in ("command", "entrypoint", "--entrypoint"):
        judge({key: "sh"})
        with pytest.raises(Refused, match="secure"):
            judge({key: "sh"}, {"command": True, "entrypoint": True}, secure_mode=True)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["host", "none", "0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
SPELLINGS = st.sampled_from([*HARMLESS, *ALIASES, "volume", "privileged", "device", "pid"])
KEYS = st.builds("{}{}".format, st.sampled_from(["", "-", "--", " "]), SPELLINGS) | st.text(max_size=6)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_nothing_passes_that_the_table_does_not_hold(args: dict[str, Any]) -> None:
    try:
        judge(args)
    except Refused:
        return
    for key, value in args.items():
        option = canonical(key)
        if option not in HARMLESS:
            assert value in (None, [])


@given(st.dictionaries(KEYS, VALUES, max_size=4))
@example({"0-0": 1, "00": "a"})
@example({"0\x850": False})
def test_what_the_hint_says_opens_all(args: dict[str, Any]) -> None:
    allow: Allow = {}
    try:
        judge(args)
    except Refused as refused:
        text = refused.hint.partition("`policy: ")[2].rpartition("`")[0]
        allow = yaml.safe_load(text)["allow"]["local-container"]
    judge(args, allow)
