"""What the config and the agent's environment say of builds by BuildKit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch_agent.spec import passon
from launch_agent.spec.passon import PassOn

# The newest release when this was written, in the form that needs no root.
IMAGE = "docker.io/moby/buildkit:v0.34.2-rootless"
TLS_FOLDER = "LAUNCH_AGENT_BUILDKIT_TLS"
SECRETS_FOLDER = "LAUNCH_AGENT_BUILD_SECRETS"
# The chart's, whichever builder makes Jobs.
PUSH_SECRET = "WANDB_LAUNCH_KANIKO_AUTH_SECRET"  # noqa: S105 - the name of a variable
NO_CACHE, INLINE_CACHE = "none", "inline"
# As in the schema, which fills them in.
_PREFIX, _TIMEOUT = "wandb-launch-container-build", 5400.0
# The names in the folder of LAUNCH_AGENT_BUILDKIT_TLS: those of a Kubernetes Secret of type tls, and those
# that BuildKit's own documents use.
_TLS_FILES = {"ca": ("ca.crt", "ca.pem"), "cert": ("tls.crt", "cert.pem"), "key": ("tls.key", "key.pem")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Paths of PEM files, empty for none; `server_name` is the name in the daemon's certificate where that
    is not the host of its address."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""

    def __bool__(self) -> bool:
        return bool(self.ca or self.cert)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`address` is the daemon's, empty where each build is a Job; `timeout` is seconds. `cache` is a
    repository, `inline` or `none`. `secrets` maps the names that Dockerfiles ask for to files. `is_plain`
    allows HTTP to the destination's registry. `image`, `prefix`, `overlay` (the config's partial Job),
    and `pass_on` are those of a Job; `push_secret` is a Secret with a Docker config."""

    address: str = ""
    tls: Tls = field(default_factory=Tls)
    platform: str = ""
    timeout: float = _TIMEOUT
    cache: str = NO_CACHE
    secrets: Mapping[str, str] = field(default_factory=dict)
    is_plain: bool = False
    image: str = IMAGE
    prefix: str = _PREFIX
    push_secret: str = ""
    overlay: Mapping[str, Any] = field(default_factory=dict)
    pass_on: PassOn = field(default_factory=PassOn)


def settings_from(
    options: Mapping[str, Any], environment: Mapping[str, str], *, repository: str, is_plain: bool = False
) -> Settings:
    """`options` is the config's `builder` part, `environment` the process's variables, `repository` where
    images go. Raises ConfigError for variables that cannot be used."""
    address = str(options.get("buildkit-address", ""))
    return Settings(
        address=address,
        tls=_tls(options.get("buildkit-tls") or {}, environment) if address.startswith("tcp://") else Tls(),
        platform=str(options.get("platform", "")),
        timeout=float(options.get("build-timeout") or _TIMEOUT),
        cache=str(options.get("cache-repo") or (NO_CACHE if address else repository)),
        secrets=dict(options.get("build-secrets") or {}) or _secrets(environment),
        is_plain=is_plain,
        image=str(options.get("buildkit-image") or IMAGE),
        prefix=str(options.get("build-job-name") or _PREFIX),
        push_secret=environment.get(PUSH_SECRET, ""),
        overlay=options.get("buildkit-config") or {},
        pass_on=passon.from_environment(environment),
    )


def _tls(options: Mapping[str, Any], environment: Mapping[str, str]) -> Tls:
    server_name = str(options.get("server-name", ""))
    if not {"ca", "cert"} & options.keys() and (folder := environment.get(TLS_FOLDER, "")):
        found = {
            name: next((str(file) for each in files if (file := Path(folder, each)).is_file()), "")
            for name, files in _TLS_FILES.items()
        }
        return Tls(**found, server_name=server_name)
    files = {name: str(options.get(name, "")) for name in _TLS_FILES}
    return Tls(**files, server_name=server_name)


def _secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Each file in the folder that the chart mounts; a mounted Secret has folders of its own beside them."""
    folder = environment.get(SECRETS_FOLDER, "")
    if not folder or not Path(folder).is_dir():
        return {}
    return {
        name: str(file)
        for name in sorted(os.listdir(folder))  # noqa: PTH208 - the names are what is wanted
        if not name.startswith("..") and (file := Path(folder, name)).is_file()
    }
