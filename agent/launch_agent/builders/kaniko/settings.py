"""What the config and the agent's environment say of builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launch_agent.spec import passon
from launch_agent.spec.passon import PassOn

# The fork that goes on where Google's archived project ended; its newest release when this was written.
IMAGE = "ghcr.io/osscontainertools/kaniko:v1.28.0"
ACCOUNT = "WANDB_LAUNCH_SERVICE_ACCOUNT_NAME"
PUSH_SECRET = "WANDB_LAUNCH_KANIKO_AUTH_SECRET"  # noqa: S105 - the name of a variable
AZURE_SECRET = "LAUNCH_AGENT_AZURE_STORAGE_SECRET"  # noqa: S105 - the name of a variable
# As in the schema, which fills them in.
_PREFIX, _TIMEOUT = "wandb-launch-container-build", 5400.0
# The agent's own image, as the chart says it.
FETCH_IMAGE = "LAUNCH_AGENT_IMAGE"
_CLOUDS = {"s3": "aws", "gs": "gcp", "https": "azure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`prefix` begins the names of builds, `timeout` is seconds. `secret` and `secret_key` name the file with
    credentials for `cloud` (aws, gcp, azure). `push_secret` is a Secret with a Docker config, `azure_secret`
    is `name/key` of a storage account's key. `overlay` is the config's partial Job. `is_plain` allows HTTP to
    the destination's registry. `fetch_image` has Python, and fetches the contexts that kaniko cannot."""

    image: str = IMAGE
    prefix: str = _PREFIX
    timeout: float = _TIMEOUT
    cloud: str = ""
    secret: str = ""
    secret_key: str = ""
    push_secret: str = ""
    azure_secret: str = ""
    account: str = ""
    overlay: Mapping[str, Any] = field(default_factory=dict)
    pass_on: PassOn = field(default_factory=PassOn)
    is_plain: bool = False
    fetch_image: str = ""


def settings_from(
    options: Mapping[str, Any], environment: Mapping[str, str], *, is_plain: bool = False
) -> Settings:
    """`options` is the config's `builder` part, `environment` the process's variables."""
    scheme = str(options.get("build-context-store", "")).partition("://")[0]
    return Settings(
        image=str(options.get("kaniko-image") or IMAGE),
        prefix=str(options.get("build-job-name") or _PREFIX),
        timeout=float(options.get("build-timeout") or _TIMEOUT),
        cloud=_CLOUDS.get(scheme, ""),
        secret=str(options.get("secret-name", "")),
        secret_key=str(options.get("secret-key", "")),
        push_secret=environment.get(PUSH_SECRET, ""),
        azure_secret=environment.get(AZURE_SECRET, ""),
        account=environment.get(ACCOUNT, ""),
        overlay=options.get("kaniko-config") or {},
        pass_on=passon.from_environment(environment),
        is_plain=is_plain,
        fetch_image=environment.get(FETCH_IMAGE, ""),
    )
