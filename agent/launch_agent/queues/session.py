"""A user's connection to a backend, for commands: whose entity, and what the server can do.

An agent does not need it; what it needs is `queues.wandb`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.queues.graphql import GraphQL
from launch_agent.queues.registration import ITEM_LIST, entity_of, features_of, viewer_of
from launch_agent.spec.secret import Secret


class Session:
    """`entity` may be empty: then the API key's own is meant. Close it when done."""

    def __init__(
        self, base_url: str, api_key: Secret, *, entity: str = "", settings: HttpSettings | None = None
    ) -> None:
        self.http = HttpClient(settings or HttpSettings())
        self.graphql = GraphQL(base_url, api_key, self.http)
        self._wanted = entity

    @cached_property
    def viewer(self) -> Mapping[str, Any]:
        """Whose key it is. Raises QueueDenied where it is not known."""
        return viewer_of(self.graphql)

    @cached_property
    def entity(self) -> str:
        return entity_of(self.viewer, self._wanted)

    @cached_property
    def features(self) -> frozenset[str]:
        return features_of(self.graphql)

    @property
    def lists_items(self) -> bool:
        """Whether the server tells more of queues and items than the public protocol has."""
        return ITEM_LIST in self.features

    def close(self) -> None:
        self.http.close()
