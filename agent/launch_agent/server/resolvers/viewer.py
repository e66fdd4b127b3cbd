"""Who asks, and what this server can do."""

from __future__ import annotations

from typing import Any

from ariadne import ObjectType, QueryType

from launch_agent.server.resolvers.context import LAUNCH_PROJECT, Info, context_of
from launch_agent.server.store import queues as queue_store
from launch_agent.server.store.rows import Viewer

# Our own extensions; schema.graphql says what each one means.
FEATURES = ("LAUNCH_ITEM_OUTCOMES", "LAUNCH_LONG_POLL", "LAUNCH_ITEM_LIST", "LAUNCH_ITEM_REQUEUE")

# Official clients refuse servers that ask for a newer client than they are.
_CLIENT_VERSIONS = {"min_cli_version": "0.0.0", "max_cli_version": "999.0.0"}

query = QueryType()
user = ObjectType("User")
entity = ObjectType("Entity")


@query.field("viewer")
def resolve_viewer(_root: Any, info: Info) -> Viewer:
    return context_of(info).viewer


@query.field("serverInfo")
def resolve_server_info(_root: Any, _info: Info) -> dict[str, Any]:
    return {
        "features": [{"name": name, "isEnabled": True} for name in FEATURES],
        "cliVersionInfo": _CLIENT_VERSIONS,
    }


@query.field("entity")
def resolve_entity(_root: Any, info: Info, *, name: str | None = None) -> dict[str, Any]:
    return entity_value(name or context_of(info).viewer.entity)


@query.field("launchEntities")
def resolve_entities(_root: Any, info: Info) -> list[str]:
    context = context_of(info)
    with context.unit.read() as connection:
        return sorted({context.viewer.entity, *queue_store.list_entities(connection)})


@user.field("name")
def resolve_user_name(viewer: Viewer, _info: Info) -> str:
    return viewer.username


@user.field("email")
def resolve_email(_viewer: Viewer, _info: Info) -> str:
    return ""


@user.field("admin")
def resolve_admin(_viewer: Viewer, _info: Info) -> bool:
    return True


@user.field("flags")
def resolve_flags(_viewer: Viewer, _info: Info) -> str:
    return "{}"


@user.field("teams")
def resolve_teams(viewer: Viewer, _info: Info, **_page: Any) -> dict[str, Any]:
    return {"edges": [{"node": entity_value(viewer.entity)}]}


@user.field("apiKeys")
def resolve_api_keys(viewer: Viewer, _info: Info) -> dict[str, Any]:
    # Keys are kept as digests only; nothing of them can be told.
    return {"edges": [{"node": {"id": viewer.id, "name": "", "description": ""}}]}


@entity.field("defaultResourceConfig")
def resolve_config(owner: dict[str, Any], info: Info, *, id: str) -> Any:  # noqa: A002 - the protocol's name
    with context_of(info).unit.read() as connection:
        config = queue_store.find_config(connection, id)
    return config if config is not None and config.entity == owner["name"] else None


@entity.field("projects")
def resolve_projects(owner: dict[str, Any], info: Info, **_page: Any) -> dict[str, Any]:
    with context_of(info).unit.read() as connection:
        found = queue_store.list_projects(connection, owner["name"])
    edges = [{"node": project, "cursor": project.name} for project in found if project.name != LAUNCH_PROJECT]
    return {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}


def entity_value(name: str) -> dict[str, Any]:
    """An entity: there is no more to it than its name, since every key may use every entity."""
    return {
        "id": f"ent-{name}",
        "name": name,
        "isTeam": False,
        "available": True,
        "organization": {"coreWeaveOrganizationId": ""},
    }


BINDABLES = [query, user, entity]
