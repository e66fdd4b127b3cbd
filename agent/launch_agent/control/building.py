"""What makes an agent's images, put together from its config: builder, registry, store, sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch_agent import plugins
from launch_agent.builders import Builder, Parts
from launch_agent.clients.http import HttpClient
from launch_agent.config.model import AgentConfig
from launch_agent.control import supplies
from launch_agent.control.builder_choice import NOOP, BuilderChoice
from launch_agent.control.job_images import JobImages
from launch_agent.control.supplies import Supplies
from launch_agent.control.unbuilt import Unbuilt
from launch_agent.sources import artifact
from launch_agent.sources.git.access import Access
from launch_agent.spec.model import Resource


def images(
    config: AgentConfig, choice: BuilderChoice, http: HttpClient, environment: Mapping[str, str]
) -> JobImages:
    """`environment` is the process's. Nothing is asked of the world yet.

    Raises LaunchError where the config names a kind that is not installed.
    """
    found = supplies.make(config, environment)
    backend = artifact.Backend(config.base_url, config.api_key, http)
    access = Access(
        environment=environment,
        credentials=config.git.credentials,
        keys=config.git.ssh_keys,
        known_hosts=config.git.known_hosts,
    )
    options = config.builder.options
    return JobImages(
        choice=choice,
        builder=None if choice.type == NOOP else builder(config, choice.type, found),
        registry=found.registry,
        backend=backend,
        access=access,
        folder=config.state_dir / "builds",
        platform=str(options.get("platform", "")),
        unbuilt=Unbuilt(
            base_image=str(options.get("base-image", "")),
            requirements=bool(options.get("install-requirements")),
            backend=backend,
            api_key=config.api_key,
            access=access,
            git=config.git,
        ),
        git=config.git,
        needs=found.verify,
    )


def builder(config: AgentConfig, kind: str, found: Supplies) -> Builder:
    """The builder of a kind, which asks nothing of the world yet."""
    options: dict[str, Any] = dict(config.builder.options)
    # The engine that builds is the one that runs, unless the builder's own options name another.
    if host := config.runner.get(Resource.LOCAL_CONTAINER, {}).get("host"):
        options.setdefault("host", host)
    parts = Parts(
        agent=config.name,
        registry=found.registry,
        store=found.store,
        environment=found.environment,
        is_plain=bool(config.builder.registry_options.get("plain-http")),
    )
    made: Builder = plugins.load("builders", kind).create(options, parts)
    return made
