"""Which rights a config needs, as documents to hand to a cloud, each right with its reason.

needs       what an agent of a config will do: push, keep build contexts, start jobs of which kinds (pure)
aws         IAM policies and trust policies
gcp         permissions of custom roles
azure       role assignments

Rights that the product's documents list stay in the documents' form, and carry the number under which the
requirement is kept (`ECR-7`); those that they lack and that the agent's own calls need carry none. Nothing is
asked of a cloud: what the config does not say is a placeholder in angle brackets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from launch_agent.config.model import AgentConfig


class Cloud(StrEnum):
    """Whose rights a document holds."""

    AWS = "aws"
    GCP = "gcp"
    AZURE = "azure"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One right. `name` is an action, a permission or a role, `on` what it is for, `why` the reason.

    `requirement` is the number of the documents' own statement; empty where the right is an addition of ours.
    """

    name: str
    on: str
    why: str
    requirement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What is handed to a cloud in one piece.

    `name` is a file name without its ending, unique within a cloud (`agent-policy`); `purpose` says in a
    sentence what it is attached to; `body` is the JSON document, empty where there is none to hand over;
    `grants` explains each right in it, and `notes` are sentences on what else is to be known.
    """

    cloud: Cloud
    name: str
    purpose: str
    body: Mapping[str, Any]
    grants: Sequence[Grant]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an agent of `config` will do. `resources` are the target resources of its queues; `queues` maps
    some of them to the settings of queues, as far as they are known, with which placeholders are filled."""

    config: AgentConfig
    resources: frozenset[str]
    queues: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def settings(self, resource: str) -> Sequence[Mapping[str, Any]]:
        """The settings of the queues of one resource."""
        return self.queues.get(resource, ())
