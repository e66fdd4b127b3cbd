"""Checks a config against the world, and changes nothing: what would go wrong at the first job is told now.

Each check is one part of the config and one thing that it needs: the backend with its key and queues, the
cloud's credentials, the registry, the context store, the builder, and every target resource that the config
or the place where this runs points to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from launch_agent import plugins
from launch_agent.clients.http import HttpSettings
from launch_agent.config.model import AgentConfig
from launch_agent.control import builder_choice, building, supplies
from launch_agent.control.targets import KINDS
from launch_agent.errors import LaunchError
from launch_agent.queues.catalogue import Catalogue
from launch_agent.queues.session import Session
from launch_agent.runners import Runner
from launch_agent.runners import examine as examine_runner
from launch_agent.spec.model import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was looked at, and what was found. `error` is None where it works."""

    name: str
    found: str = ""
    error: LaunchError | None = None


def examine(
    config: AgentConfig,
    environment: Mapping[str, str],
    runners: Mapping[str, Mapping[str, object]],
) -> Iterator[Check]:
    """Every check, as its result comes. `environment` is the process's, `runners` the options by resource."""
    # A repository that is made where it is missing would be a change.
    options = {key: value for key, value in config.builder.registry_options.items() if key != "create"}
    config = replace(config, builder=replace(config.builder, registry_options=options))
    served: set[str] = set()
    yield from _backend(config, environment, served)
    choice = builder_choice.choose(config, environment)
    yield from _supplies(config, environment)
    if choice.type != builder_choice.NOOP:
        yield _look(
            "builder", f"{choice.type} ({choice.why})", lambda: _builder(config, choice.type, environment)
        )
    else:
        yield Check(name="builder", found=f"noop ({choice.why}): jobs must bring a ready image")
    for resource in _resources(config, environment, runners, served | _implied(choice.type)):
        yield _look(f"target {resource}", "can be used", partial(_runner, resource, runners))


def _look(name: str, found: str, check: Callable[[], object]) -> Check:
    try:
        said = check()
    except LaunchError as error:
        return Check(name=name, error=error)
    return Check(name=name, found=said if isinstance(said, str) else found)


def _backend(config: AgentConfig, environment: Mapping[str, str], served: set[str]) -> Iterator[Check]:
    """The backend and its queues; the resources of the queues are added to `served`."""
    session = Session(
        config.base_url,
        config.api_key,
        entity=config.entity,
        settings=HttpSettings(environment=environment),
    )

    def queue_is_there(name: str) -> str:
        resource = Catalogue(session).show(name).resource
        served.add(resource)
        return f"its jobs run on {resource}" if resource else "is there"

    try:
        who = _look("backend", "", lambda: f"{config.base_url} knows the key, entity {session.entity}")
        yield who
        for queue in config.queues if who.error is None else ():
            yield _look(f"queue {queue}", "", partial(queue_is_there, queue))
    finally:
        session.close()


def _implied(builder: str) -> set[str]:
    return {Resource.LOCAL_CONTAINER} if builder == "docker" else set()


def _supplies(config: AgentConfig, environment: Mapping[str, str]) -> Iterator[Check]:
    try:
        found = supplies.make(config, environment)
    except LaunchError as error:
        yield Check(name="environment", error=error)
        return
    if config.environment.type != "local":
        yield _look(
            f"environment {config.environment.type}", "the credentials work", found.environment.verify
        )
    if found.registry is not None:
        yield _look("registry", found.registry.repository, found.registry.verify)
    if found.store is not None:
        yield _look("build context store", "can be written", found.store.verify)


def _builder(config: AgentConfig, kind: str, environment: Mapping[str, str]) -> None:
    made = building.builder(config, kind, supplies.make(config, environment))
    try:
        made.verify()
    finally:
        made.close()


def _resources(
    config: AgentConfig,
    environment: Mapping[str, str],
    runners: Mapping[str, Mapping[str, object]],
    served: set[str],
) -> list[str]:
    """The targets that there is a reason to look at: of the queues, of the config, or where this runs."""
    wanted = served | {resource for resource, options in config.runner.items() if _is_told(options)}
    if environment.get("KUBERNETES_SERVICE_HOST"):
        wanted.add(Resource.KUBERNETES)
    known = {*runners, *KINDS} - {Resource.LOCAL_PROCESS}
    return sorted(str(resource) for resource in wanted if resource in known)


def _is_told(options: Mapping[str, object]) -> bool:
    """Whether the config says where the resource is, beside the defaults that every config has."""
    places = ("host", "context", "namespace", "target-namespaces", "endpoints", "api-key-secret")
    return any(options.get(key) for key in places)


def _runner(resource: str, runners: Mapping[str, Mapping[str, object]]) -> None:
    runner: Runner = plugins.load("runners", KINDS.get(resource, resource)).create(runners.get(resource, {}))
    try:
        examine_runner(runner)
    finally:
        runner.close()
