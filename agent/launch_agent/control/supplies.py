"""What builds draw on, made from the config: the cloud's credentials, the image registry, the context store.

Each is imported when the config names it. A registry or store of a cloud that is not the environment's has
that cloud's default credentials (a cluster outside of any cloud, whose Secret opens one), and an address of a
cloud in a `local` environment is a registry like any other: its credentials are those of a Docker config.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from launch_agent import plugins
from launch_agent.config.destination import CLOUD, Kind
from launch_agent.config.model import AgentConfig
from launch_agent.environments import Environment
from launch_agent.registries import Registry
from launch_agent.stores import ContextStore

# The volume claim for build contexts and where the agent has it: what the chart sets.
CLAIM = "WANDB_LAUNCH_KANIKO_PVC_NAME"
CLAIM_MOUNT = "WANDB_LAUNCH_KANIKO_PVC_MOUNT_PATH"
_STORE = "build-context-store"
# Kind and cloud of a store by its address's scheme.
_STORES = {"s3": ("s3", "aws"), "gs": ("gcs", "gcp"), "https": ("azblob", "azure")}
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_PROJECT = "GOOGLE_CLOUD_PROJECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplies:
    """`registry` is None where the config names no destination, `store` where it names no store."""

    environment: Environment
    registry: Registry | None = None
    store: ContextStore | None = None

    def verify(self) -> None:
        """Raise LaunchError for the first that cannot be used, with what is missing."""
        self.environment.verify()
        if self.registry is not None:
            self.registry.verify()
        if self.store is not None:
            self.store.verify()


def make(config: AgentConfig, variables: Mapping[str, str]) -> Supplies:
    """`variables` is the process's environment. Nothing is asked of the world before its first use."""
    environment = _environment(asdict(config.environment))
    return Supplies(
        environment=environment,
        registry=_registry(config, environment),
        store=_store(config, environment, variables),
    )


def _environment(options: Mapping[str, Any]) -> Environment:
    made: Environment = plugins.load("environments", options["type"]).create(options)
    return made


def _registry(config: AgentConfig, environment: Environment) -> Registry | None:
    builder = config.builder
    destination = builder.destination or builder.repository
    if not destination:
        return None
    kind = builder.registry
    cloud = CLOUD.get(Kind(kind)) if kind in set(Kind) else None
    if cloud is not None and environment.type != cloud:
        kind = Kind.GENERIC
    made: Registry = plugins.load("registries", kind).create(
        destination, environment, builder.registry_options
    )
    return made


def _store(
    config: AgentConfig, environment: Environment, variables: Mapping[str, str]
) -> ContextStore | None:
    options = dict(config.builder.options)
    made: ContextStore
    if claim := variables.get(CLAIM, "").strip():
        options["mount"] = variables.get(CLAIM_MOUNT) or "/kaniko"
        made = plugins.load("stores", "pvc").create(f"pvc://{claim}", None, options)
        return made
    uri = str(options.get(_STORE, ""))
    if not uri:
        return None
    scheme = urlsplit(uri).scheme
    kind, cloud = _STORES.get(scheme, (scheme, environment.type))
    if environment.type != cloud:
        environment = _environment(_defaults(cloud, variables))
    made = plugins.load("stores", kind).create(uri, environment, options)
    return made


def _defaults(cloud: str, variables: Mapping[str, str]) -> dict[str, str]:
    """An environment of a cloud that the config does not name: as the cloud's own tools find it."""
    region = next((variables[name] for name in _REGIONS if variables.get(name)), "")
    return {"type": cloud, "region": region, "project": variables.get(_PROJECT, ""), "role": ""}
