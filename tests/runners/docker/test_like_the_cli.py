"""Resource args mean what the same options mean to `docker create`: the engine says what it made of both."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from launch_agent.runners.docker.arguments import parse
from launch_agent.runners.docker.creation import make
from launch_agent.spec.model import RunRequest
from tests.contracts.runner import identity_for
from tests.fakes.docker_engine import TestEngine

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command is not installed"),
]

# Resource args, and the command line's options.
CASES: Sequence[tuple[dict[str, Any], Sequence[str]]] = [
    ({"memory": "64m", "memory-swap": "128m", "memory_reservation": "32m"},
     ["-m=64m", "--memory-swap=128m", "--memory-reservation=32m"]),
    ({"memory-swap": -1, "m": 67108864}, ["--memory-swap=-1", "--memory=67108864"]),
    ({"cpus": 1.5}, ["--cpus=1.5"]),
    ({"cpu": "0.25"}, ["--cpus=0.25"]),
    ({"cpu-period": 50000, "cpu-quota": "25000", "cpu-shares": 512},
     ["--cpu-period=50000", "--cpu-quota=25000", "--cpu-shares=512"]),
    ({"cpuset-cpus": "0", "cpuset_mems": 0}, ["--cpuset-cpus=0", "--cpuset-mems=0"]),
    ({"shm-size": "1g"}, ["--shm-size=1g"]),
    ({"ulimit": ["nofile=1024:4096", "core=0"]}, ["--ulimit=nofile=1024:4096", "--ulimit=core=0"]),
    ({"ulimit": {"nproc": 100}}, ["--ulimit=nproc=100"]),
    ({"pids-limit": 50}, ["--pids-limit=50"]),
    ({"env": ["A=1", "B=x y=z"]}, ["-e", "A=1", "-e", "B=x y=z"]),
    ({"volume": ["/tmp:/data:ro", "cache:/cache"]}, ["-v=/tmp:/data:ro", "-v=cache:/cache"]),
    ({"v": "/tmp:/data"}, ["-v=/tmp:/data"]),
    ({"mount": "type=bind,source=/tmp,target=/data,readonly"},
     ["--mount=type=bind,source=/tmp,target=/data,readonly"]),
    ({"mount": [{"type": "tmpfs", "target": "/scratch", "tmpfs-size": "64m", "tmpfs-mode": "1770"}]},
     ["--mount=type=tmpfs,target=/scratch,tmpfs-size=64m,tmpfs-mode=1770"]),
    ({"tmpfs": ["/run", "/scratch:size=64m"]}, ["--tmpfs=/run", "--tmpfs=/scratch:size=64m"]),
    ({"network": "host"}, ["--network=host"]),
    ({"ipc": "host"}, ["--ipc=host"]),
    ({"pid": "host", "uts": "host"}, ["--pid=host", "--uts=host"]),
    ({"user": 1000}, ["--user=1000"]),
    ({"u": "1000:1000", "w": "/tmp"}, ["-u=1000:1000", "-w=/tmp"]),
    ({"label": {"team": "vision", "flag": None}}, ["--label=team=vision", "--label=flag"]),
    ({"hostname": "trainer"}, ["--hostname=trainer"]),
    ({"entrypoint": "env"}, ["--entrypoint=env"]),
    ({"add-host": {"db": "10.0.0.1"}}, ["--add-host=db:10.0.0.1"]),
    ({"dns": "10.0.0.2", "dns-search": ["a.example"], "dns-option": "ndots:1"},
     ["--dns=10.0.0.2", "--dns-search=a.example", "--dns-option=ndots:1"]),
    ({"cap-add": ["CAP_IPC_LOCK"], "cap-drop": "ALL"}, ["--cap-add=IPC_LOCK", "--cap-drop=ALL"]),
    ({"security-opt": "no-new-privileges"}, ["--security-opt=no-new-privileges"]),
    ({"device": ["/dev/null:/dev/zilch:r", "/dev/zero"]},
     ["--device=/dev/null:/dev/zilch:r", "--device=/dev/zero"]),
    ({"privileged": True}, ["--privileged"]),
    ({"privileged": "false", "read-only": True, "init": True}, ["--read-only", "--init"]),
    ({"sysctl": {"net.core.somaxconn": 512}}, ["--sysctl=net.core.somaxconn=512"]),
    ({"group-add": [10, "20"]}, ["--group-add=10", "--group-add=20"]),
    ({"gpus": "all"}, ["--gpus=all"]),
    ({"gpus": 2}, ["--gpus=2"]),
    ({"gpus": "device=0,1"}, ["--gpus", '"device=0,1"']),
    ({"gpus": {"device_ids": [0, 1], "capabilities": ["utility"]}},
     ["--gpus", '"device=0,1","capabilities=utility"']),
    ({"stop-signal": "SIGINT", "stop-timeout": 30}, ["--stop-signal=SIGINT", "--stop-timeout=30"]),
    ({"oom-score-adj": 100, "blkio-weight": 100}, ["--oom-score-adj=100", "--blkio-weight=100"]),
    ({"network": "host", "publish": ["127.0.0.1:8080:80", "53/udp"]},
     ["--network=host", "-p=127.0.0.1:8080:80", "-p=53/udp"]),
    ({"cgroup-parent": "/tests", "runtime": "runc"}, ["--cgroup-parent=/tests", "--runtime=runc"]),
    ({"device-cgroup-rule": "c 1:3 mr"}, ["--device-cgroup-rule=c 1:3 mr"]),
]  # fmt: skip

# What the command line fills in on its own, without any effect on the run.
_NOT_COMPARED = (
    "Image",
    "AttachStdout",
    "AttachStderr",
    "ConsoleSize",
    "StdinOnce",
    "OnBuild",
    "RestartPolicy",
)


@pytest.mark.req("QUEUE-6", "QUEUE-17")
@pytest.mark.parametrize(("resource_args", "options"), CASES, ids=[" ".join(options) for _, options in CASES])
def test_the_engine_makes_the_same_of_both(
    docker_engine: TestEngine, tiny_image: str, resource_args: dict[str, Any], options: Sequence[str]
) -> None:
    client = docker_engine.client
    names = [f"cli-{uuid.uuid4().hex}", f"own-{uuid.uuid4().hex}"]
    request = RunRequest(identity=identity_for("cli"), image=tiny_image, args=["true"])
    creation = make(request, parse(resource_args), network=docker_engine.network, desktop=False)
    network = [] if "network" in resource_args else [f"--network={docker_engine.network}"]
    command = ["docker", f"--host={docker_engine.host}", "create", f"--name={names[0]}", *network, *options]
    try:
        subprocess.run([*command, tiny_image, "true"], check=True, capture_output=True, timeout=30)
        client.create_container_from_config(dict(creation.body), names[1])
        theirs, ours = (_seen(client.inspect_container(name)) for name in names)
    finally:
        for name in names:
            client.remove_container(name, force=True, v=True)
    assert ours == theirs


def _seen(found: dict[str, Any]) -> dict[str, Any]:
    seen = {**found["Config"], **found["HostConfig"]}
    seen["Labels"] = {k: v for k, v in found["Config"]["Labels"].items() if "launch-agent" not in f"{k}={v}"}
    if seen["Hostname"] == found["Id"][:12]:
        seen.pop("Hostname")
    # To the engine null and empty are the same, and the command line sorts some lists.
    return {key: _plain(value) for key, value in seen.items() if key not in _NOT_COMPARED}


def _plain(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, list) and value else value or None
