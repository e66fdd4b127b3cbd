"""Makes the Engine API's create request from a run request: pure, so that what a job becomes can be read off.

Who wins where the queue's resource args and the agent both set something:

- environment: the resource args, but for the variables that say which run this is and whose;
- entry point and arguments: the job's, then the resource args', then the image's;
- working directory: the job's, then the resource args', then the image's;
- network: the resource args', then the config's. Where neither names one and the backend is on this machine
  (`WANDB_BASE_URL` on a loopback address), a run would not reach it through the engine's own network: it gets
  the host's network on Linux. Docker Desktop runs containers in a virtual machine, where the host is called
  `host.docker.internal`: there that name replaces the address.

A job's code that its image does not hold is copied into the container before it starts (`code`): the engine
need not be on this machine, and what is in the container goes with it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from launch_agent.runners.docker.arguments import Arguments
from launch_agent.runners.env import merged
from launch_agent.spec import identity
from launch_agent.spec.code import WORKDIR
from launch_agent.spec.model import RunRequest

_BASE_URL = "WANDB_BASE_URL"
_DESKTOP_HOST = "host.docker.internal"
# On containers that are not to be started before code was put into them.
BRINGS_CODE = f"{identity.PREFIX}brings-code"
# Not the code's own folder: an engine gives a volume's root the mode that it likes.
CODE_VOLUME = str(PurePosixPath(WORKDIR).parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """The create request: `body` as the Engine API takes it, `name` and `platform` beside it."""

    name: str
    platform: str
    body: Mapping[str, Any]

    @property
    def is_read_only(self) -> bool:
        return bool(self.body["HostConfig"].get("ReadonlyRootfs"))


def base_url_is_local(request: RunRequest) -> bool:
    """Whether the run's backend is on a loopback address."""
    host = urlsplit(request.env.get(_BASE_URL, "")).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def make(request: RunRequest, arguments: Arguments, *, network: str, desktop: bool) -> Creation:
    """`network` is the config's, empty where it names none; `desktop` is whether this is Docker Desktop."""
    host = dict(arguments.host)
    env = merged(request, arguments.env)
    if not host.get("NetworkMode"):
        if network:
            host["NetworkMode"] = network
        elif base_url_is_local(request) and not desktop:
            host["NetworkMode"] = "host"
        elif base_url_is_local(request):
            env[_BASE_URL] = _on_desktop(env[_BASE_URL])
            host["ExtraHosts"] = [*host.get("ExtraHosts", ()), f"{_DESKTOP_HOST}:host-gateway"]
    body: dict[str, Any] = {
        **arguments.config,
        "Image": request.image,
        "Env": [f"{key}={value}" for key, value in env.items()],
        "Labels": {**arguments.labels, **identity.to_labels(request.identity)},
        "HostConfig": host,
    }
    if request.code is not None:
        _make_room(body, host)
    if request.entry_point:
        body["Entrypoint"] = list(request.entry_point)
        # A command of the resource args belongs to their entry point, not to the job's.
        body.pop("Cmd", None)
    if request.args:
        body["Cmd"] = list(request.args)
    if request.working_dir:
        body["WorkingDir"] = request.working_dir
    if host.get("PortBindings"):
        body["ExposedPorts"] = {port: {} for port in host["PortBindings"]}
    return Creation(
        name=arguments.name or identity.object_name(request.identity), platform=arguments.platform, body=body
    )


def _make_room(body: dict[str, Any], host: dict[str, Any]) -> None:
    """The code's place, which counts as the image's own working directory. Where the container's file system
    is read-only, that place is in a nameless volume, which goes with the container."""
    body.setdefault("WorkingDir", WORKDIR)
    body["Labels"][BRINGS_CODE] = "true"
    if host.get("ReadonlyRootfs"):
        host["Mounts"] = [*host.get("Mounts", ()), {"Type": "volume", "Target": CODE_VOLUME}]


def _on_desktop(url: str) -> str:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{_DESKTOP_HOST}{port}").geturl()
