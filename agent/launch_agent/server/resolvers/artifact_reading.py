"""Artifacts as they are read: by id, by name and alias, by type; and their files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ariadne import ObjectType

from launch_agent.server.resolvers.context import Context, Info, Payload, context_of, page_size
from launch_agent.server.store import artifacts as store
from launch_agent.server.store import queues as queue_store
from launch_agent.server.store.artifacts import ArtifactRow
from launch_agent.server.store.files import FileRow
from launch_agent.server.store.rows import ProjectRow

project = ObjectType("Project")
artifact = ObjectType("Artifact")
sequence = ObjectType("ArtifactSequence")
membership = ObjectType("ArtifactCollectionMembership")
kind = ObjectType("ArtifactType")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A name under which versions are kept."""

    entity: str
    project: str
    type: str
    name: str

    @property
    def id(self) -> str:
        return f"acol-{self.entity}/{self.project}/{self.name}"


@project.field("artifactCollectionMembership")
def resolve_membership(row: ProjectRow, info: Info, *, name: str) -> ArtifactRow | None:
    # A membership is the version itself: every version is in one collection, its own.
    return _named(row, info, name)


@project.field("artifact")
def resolve_named(row: ProjectRow, info: Info, *, name: str) -> ArtifactRow | None:
    return _named(row, info, name)


@project.field("artifactCollection")
def resolve_collection(row: ProjectRow, info: Info, *, name: str) -> Collection | None:
    return _collection(row, context_of(info), name, None)


@project.field("artifactType")
def resolve_type(row: ProjectRow, info: Info, *, name: str) -> Payload | None:
    with context_of(info).unit.read() as connection:
        found = store.collections(connection, row.entity, row.name, name)
    return _type(row, name) if found else None


@project.field("artifactTypes")
def resolve_types(row: ProjectRow, info: Info, **_page: Any) -> Payload:
    with context_of(info).unit.read() as connection:
        found = store.collections(connection, row.entity, row.name, None)
    names = dict.fromkeys(each for each, _ in found)
    return {"edges": [{"node": _type(row, name)} for name in names], "pageInfo": _WHOLE}


@kind.field("artifactCollection")
def resolve_collection_of_type(value: Payload, info: Info, *, name: str) -> Collection | None:
    return _collection(value["project"], context_of(info), name, value["name"])


@kind.field("artifactCollections")
def resolve_collections(value: Payload, info: Info, **_page: Any) -> Payload:
    row = value["project"]
    with context_of(info).unit.read() as connection:
        found = store.collections(connection, row.entity, row.name, value["name"])
    nodes = [Collection(entity=row.entity, project=row.name, type=each, name=name) for each, name in found]
    return {
        "totalCount": len(nodes),
        "edges": [{"node": node, "cursor": node.name} for node in nodes],
        "pageInfo": _WHOLE,
    }


@sequence.field("project")
def resolve_project(value: Collection, info: Info) -> ProjectRow | None:
    with context_of(info).unit.read() as connection:
        return queue_store.find_project(connection, value.entity, value.project)


@sequence.field("defaultArtifactType")
def resolve_default_type(value: Collection, _info: Info) -> Payload:
    return {"id": f"atyp-{value.type}", "name": value.type}


@sequence.field("createdAt")
def resolve_collection_created_at(value: Collection, info: Info) -> float | None:
    with context_of(info).unit.read() as connection:
        found = store.versions(connection, value.entity, value.project, value.name)
    return found[-1].created_at if found else None


@sequence.field("tags")
def resolve_collection_tags(_value: Collection, _info: Info) -> Payload:
    return {"edges": []}


@sequence.field("latestArtifact")
def resolve_latest(value: Collection, info: Info) -> ArtifactRow | None:
    with context_of(info).unit.read() as connection:
        return store.latest(connection, value.entity, value.project, value.name)


@sequence.field("digestAlgorithm")
def resolve_collection_algorithm(value: Collection, info: Info) -> str:
    found = resolve_latest(value, info)
    return found.algorithm if found is not None else "MANIFEST_MD5"


@sequence.field("artifactMembership")
def resolve_collection_membership(value: Collection, info: Info, *, aliasName: str) -> ArtifactRow | None:  # noqa: N803 - the protocol's name
    with context_of(info).unit.read() as connection:
        return store.find_by_alias(connection, value.entity, value.project, value.name, aliasName)


@sequence.field("artifacts")
def resolve_versions(value: Collection, info: Info, **_page: Any) -> Payload:
    with context_of(info).unit.read() as connection:
        found = store.versions(connection, value.entity, value.project, value.name)
    return {
        "totalCount": len(found),
        "edges": [{"version": f"v{row.version}", "node": row, "cursor": row.id} for row in found],
        "pageInfo": _WHOLE,
    }


@sequence.field("aliases")
def resolve_collection_aliases(value: Collection, info: Info, **_page: Any) -> Payload:
    with context_of(info).unit.read() as connection:
        rows = store.versions(connection, value.entity, value.project, value.name)
    nodes = [each for row in rows for each in resolve_aliases(row, info)]
    return {"edges": [{"node": node} for node in nodes], "pageInfo": _WHOLE}


@artifact.field("artifactSequence")
@membership.field("artifactCollection")
def resolve_sequence(row: ArtifactRow, _info: Info) -> Collection:
    return Collection(entity=row.entity, project=row.project, type=row.type, name=row.collection)


@membership.field("artifact")
def resolve_itself(row: ArtifactRow, _info: Info) -> ArtifactRow:
    return row


@artifact.field("artifactType")
def resolve_artifact_type(row: ArtifactRow, _info: Info) -> Payload:
    return {"id": f"atyp-{row.type}", "name": row.type}


@artifact.field("digestAlgorithm")
def resolve_algorithm(row: ArtifactRow, _info: Info) -> str:
    return row.algorithm


@artifact.field("versionIndex")
@membership.field("versionIndex")
def resolve_version(row: ArtifactRow, _info: Info) -> int | None:
    return row.version


@artifact.field("createdAt")
@membership.field("createdAt")
def resolve_created_at(row: ArtifactRow, _info: Info) -> float:
    return row.created_at


@artifact.field("updatedAt")
def resolve_updated_at(row: ArtifactRow, _info: Info) -> float:
    return row.updated_at


@artifact.field("ttlIsInherited")
def resolve_ttl(_row: ArtifactRow, _info: Info) -> bool:
    return True


@artifact.field("ttlDurationSeconds")
def resolve_ttl_seconds(_row: ArtifactRow, _info: Info) -> int:
    return _NO_TTL


@artifact.field("tags")
def resolve_tags(_row: ArtifactRow, _info: Info) -> list[Payload]:
    return []


@artifact.field("size")
def resolve_size(row: ArtifactRow, info: Info) -> int:
    with context_of(info).unit.read() as connection:
        return store.totals(connection, row.id)[1]


@artifact.field("fileCount")
def resolve_file_count(row: ArtifactRow, info: Info) -> int:
    with context_of(info).unit.read() as connection:
        return store.totals(connection, row.id)[0]


@artifact.field("aliases")
@membership.field("aliases")
def resolve_aliases(row: ArtifactRow, info: Info) -> list[Payload]:
    with context_of(info).unit.read() as connection:
        names = store.aliases(connection, row.id)
    owner = resolve_sequence(row, info)
    return [{"id": f"{row.id}/{name}", "alias": name, "artifactCollection": owner} for name in names]


@artifact.field("currentManifest")
def resolve_manifest(row: ArtifactRow, info: Info) -> Payload | None:
    with context_of(info).unit.read() as connection:
        found = store.manifest(connection, row.id)
        files = store.files(connection, found) if found is not None else []
    return {"id": found, "digest": files[0].md5, "file": files[0]} if files else None


@artifact.field("files")
@membership.field("files")
def resolve_files(
    row: ArtifactRow,
    info: Info,
    *,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Payload:
    size = page_size(first, 50, most=5000)
    with context_of(info).unit.read() as connection:
        found = store.files(connection, row.id, names=names, after=after, limit=size + 1)
        total, _ = store.totals(connection, row.id)
    return connection_of(found[:size], has_more=len(found) > size, total=total)


@artifact.field("filesByManifestEntries")
def resolve_entries(
    row: ArtifactRow, info: Info, *, entries: list[Payload] | None = None, **_layout: Any
) -> Payload:
    wanted = [entry["name"] for entry in entries or ()]
    with context_of(info).unit.read() as connection:
        by_name = {each.name: each for each in store.files(connection, row.id, names=wanted)}
    found = [by_name[name] for name in wanted if name in by_name]
    return connection_of(found, has_more=False, total=len(found))


def connection_of(files: list[FileRow], *, has_more: bool, total: int) -> Payload:
    """A page of files."""
    return {
        "totalCount": total,
        "edges": [{"node": each, "cursor": each.name} for each in files],
        "pageInfo": {"endCursor": files[-1].name if files else None, "hasNextPage": has_more},
    }


def _named(row: ProjectRow, info: Info, name: str) -> ArtifactRow | None:
    collection, _, alias = name.partition(":")
    with context_of(info).unit.read() as connection:
        return store.find_by_alias(connection, row.entity, row.name, collection, alias or "latest")


# What clients read as "kept for ever"; they take no null.
_NO_TTL = 0
_WHOLE = {"endCursor": None, "hasNextPage": False}


def _type(row: ProjectRow, name: str) -> Payload:
    return {"id": f"atyp-{name}", "name": name, "project": row}


def _collection(row: ProjectRow, context: Context, name: str, wanted: str | None) -> Collection | None:
    with context.unit.read() as connection:
        found = store.collections(connection, row.entity, row.name, wanted)
    for each, collection in found:
        if collection == name:
            return Collection(entity=row.entity, project=row.name, type=each, name=name)
    return None


BINDABLES = [project, artifact, sequence, membership, kind]
