"""What every resolver gets besides its arguments, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

from graphql import GraphQLResolveInfo

from launch_agent.server.store import Unit
from launch_agent.server.store.rows import Viewer

if TYPE_CHECKING:
    Info = GraphQLResolveInfo[Any]
else:
    # Generic in newer releases of graphql-core only.
    Info = GraphQLResolveInfo

# The project that official clients keep all queues in.
LAUNCH_PROJECT = "model-registry"


@dataclass(slots=True, kw_only=True)
class Context:
    """One request. The resolvers write into the last three fields what the request's end has to do.

    `sign` makes the path and query of a URL for a file: (method, run id, file name) -> text.
    `notify` are keys for the hub, told after the commit. `awaited` are keys that a held pop waits for.
    `leased` are the items that the answer carries; `is_over` says that holding the request makes no sense.
    """

    unit: Unit
    viewer: Viewer
    base_url: str
    lease_seconds: float
    sign: Callable[[str, str, str], str]
    now: float
    notify: set[str] = field(default_factory=set)
    awaited: set[str] = field(default_factory=set)
    leased: list[str] = field(default_factory=list)
    is_over: bool = False


def context_of(info: Info) -> Context:
    context = info.context
    assert isinstance(context, Context)
    return context


def queue_key(queue_id: str) -> str:
    """The hub's key for an item in a queue."""
    return f"queue:{queue_id}"


def agent_key(agent_id: str) -> str:
    """The hub's key for an order to an agent."""
    return f"agent:{agent_id}"


Payload = dict[str, Any]


def mutation(resolve: Callable[..., Payload | None]) -> Callable[..., Payload | None]:
    """Hand a mutation its context and its `input`, and echo `clientMutationId`."""

    @wraps(resolve)
    def resolved(_root: Any, info: Info, *, input: dict[str, Any]) -> Payload | None:  # noqa: A002 - the protocol's name
        payload = resolve(context_of(info), input)
        if payload is not None and "clientMutationId" in input:
            payload.setdefault("clientMutationId", input["clientMutationId"])
        return payload

    return resolved


def page_size(first: int | None, default: int, most: int = 1000) -> int:
    """How many entries a page gets: as many as asked for, within reason."""
    return default if first is None else max(0, min(first, most))
