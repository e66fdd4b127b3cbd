"""The documents of a config in order, and as text or as data for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from launch_agent.config import queue
from launch_agent.config.model import AgentConfig
from launch_agent.errors import ConfigError
from launch_agent.permissions import Cloud, Document, Needs, aws, azure, gcp, identity, kubernetes
from launch_agent.spec.model import Resource
from launch_agent.spec.policy.sagemaker_limits import SageMakerLimits
from launch_agent.spec.policy.vertex_limits import VertexLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known beside the config: `resources` by name, `queues` as (file, its content)."""

    resources: Sequence[str] = ()
    queues: Sequence[tuple[str, Mapping[str, Any]]] = ()
    pod: identity.Pod = field(default_factory=identity.Pod)


def needs_of(config: AgentConfig, told: Told) -> Needs:
    """What an agent of this config will do. Which resources it serves is known by its queues; where nobody
    tells of these, by what the config says of a resource."""
    settings: dict[str, list[Mapping[str, Any]]] = {}
    for file, content in told.queues:
        for resource, each in _resources_in(file, content):
            settings.setdefault(resource, []).append(each)
    named = {*told.resources, *settings}
    return Needs(config=config, resources=frozenset(named or _hinted(config)), queues=settings)


def documents(needs: Needs, pod: identity.Pod) -> list[Document]:
    """Everything, cloud by cloud: what the agent may do, then who it is."""
    found = []
    for cloud, of_cloud in ((Cloud.AWS, aws), (Cloud.GCP, gcp), (Cloud.AZURE, azure)):
        rights = of_cloud.documents(needs)
        found += [*rights, *(identity.documents(needs, cloud, pod) if rights else ())]
    return [*found, *kubernetes.documents(needs)]


def data(found: Sequence[Document]) -> list[dict[str, Any]]:
    """As JSON. `origin` of a right is `documents`, with their requirement's number, or `launch-agent`."""
    return [
        {
            "cloud": document.cloud.value,
            "name": document.name,
            "purpose": document.purpose,
            "document": document.body,
            "grants": [
                {**asdict(grant), "origin": "documents" if grant.requirement else "launch-agent"}
                for grant in document.grants
            ],
            "notes": list(document.notes),
        }
        for document in found
    ]


def text(found: Sequence[Document]) -> Iterator[str]:
    """Lines for people."""
    for document in found:
        yield f"{document.cloud.value}/{document.name}: {document.purpose}"
        yield ""
        if document.body:
            yield from (f"    {line}" for line in json.dumps(document.body, indent=2).splitlines())
            yield ""
        for grant in document.grants:
            origin = grant.requirement or "ours"
            yield f"  {grant.name} on {grant.on}: {grant.why} [{origin}]"
        for note in document.notes:
            yield f"  note: {note}"
        yield ""


def _resources_in(file: str, content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    found = queue.settings_of(content)
    if not found:
        raise ConfigError(
            "these are the settings of no resource", file=file, hint="launch-agent lint says what is missing"
        )
    for resource, settings in found:
        if isinstance(settings, Mapping):
            yield resource, settings


def _hinted(config: AgentConfig) -> set[str]:
    """The resources of which the config says more than its defaults do."""
    found = set()
    if config.policy.vertex != VertexLimits():
        found.add(Resource.VERTEX.value)
    if config.policy.sagemaker != SageMakerLimits():
        found.add(Resource.SAGEMAKER.value)
    options = config.runner.get(Resource.KUBERNETES, {})
    if any(options.get(key) for key in ("context", "namespace", "target-namespaces")):
        found.add(Resource.KUBERNETES.value)
    return found
