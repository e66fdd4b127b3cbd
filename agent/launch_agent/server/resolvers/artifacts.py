"""Artifacts: what `wandb job create` and `log_artifact` write, and how jobs are read back."""

from __future__ import annotations

import base64
from typing import Any

from ariadne import InterfaceType, MutationType, ObjectType, QueryType
from graphql import GraphQLError

from launch_agent.server.filestore import checked_name
from launch_agent.server.resolvers import artifact_reading
from launch_agent.server.resolvers.context import Context, Info, Payload, context_of, mutation
from launch_agent.server.store import artifacts as store
from launch_agent.server.store import queues as queue_store
from launch_agent.server.store import runs as run_store
from launch_agent.server.store.artifacts import ArtifactRow
from launch_agent.server.store.files import FileRow
from launch_agent.server.store.ids import new_id

_LONGEST_NAME = 128

query = QueryType()
mutations = MutationType()
file = ObjectType("File")
collection = InterfaceType("ArtifactCollection", type_resolver=lambda *_: "ArtifactSequence")


@query.field("artifact")
def resolve_artifact(_root: Any, info: Info, *, id: str) -> ArtifactRow | None:  # noqa: A002 - the protocol's name
    with context_of(info).unit.read() as connection:
        return store.find(connection, id)


@query.field("clientIDMapping")
def resolve_client_id(_root: Any, info: Info, *, clientID: str) -> Payload | None:  # noqa: N803 - the protocol's name
    with context_of(info).unit.read() as connection:
        found = store.find_by_client_id(connection, clientID)
    return {"serverID": found.id} if found is not None else None


@mutations.field("createArtifact")
@mutation
def create_artifact(context: Context, given: Payload) -> Payload:
    names = given.get("artifactCollectionNames") or [given.get("artifactCollectionName") or ""]
    name = _checked(names[0], "collection")
    entity, project = given["entityName"], given["projectName"]
    wanted = [each["alias"] for each in given.get("aliases") or ()]
    with context.unit.write() as connection:
        queue_store.ensure_project(connection, entity, project, context.now)
        row = store.find_by_digest(connection, entity, project, name, given["digest"])
        if row is None:
            row = ArtifactRow(
                id=new_id("art"),
                entity=entity,
                project=project,
                type=_checked(given["artifactTypeName"], "type"),
                collection=name,
                version=None,
                state="PENDING",
                digest=given["digest"],
                algorithm=given.get("digestAlgorithm") or "MANIFEST_MD5",
                description=given.get("description") or "",
                metadata=given.get("metadata") or "{}",
                client_id=given.get("clientID") or "",
                created_at=context.now,
                updated_at=context.now,
            )
            store.create(connection, row)
        elif given.get("clientID") and given["clientID"] != row.client_id:
            # Clients refer to what they log by their own id, also where the content was there before.
            store.update(connection, row.id, context.now, client_id=given["clientID"])
        store.add_aliases(connection, row, [_checked(alias, "alias") for alias in wanted])
    return {"artifact": row}


@mutations.field("createArtifactManifest")
@mutation
def create_manifest(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        row = _required(store.find(connection, given["artifactID"]), given["artifactID"])
        found = store.add_manifest(connection, row.id, given.get("type") or "FULL", context.now)
    return {"artifactManifest": _manifest(found)}


@mutations.field("updateArtifactManifest")
@mutation
def update_manifest(context: Context, given: Payload) -> Payload:
    with context.unit.read() as connection:
        if not store.has_manifest(connection, given["artifactManifestID"]):
            raise GraphQLError(f"there is no manifest {given['artifactManifestID']!r}")
    return {"artifactManifest": _manifest(given["artifactManifestID"])}


@mutations.field("createArtifactFiles")
@mutation
def create_files(context: Context, given: Payload) -> Payload:
    found = []
    with context.unit.read() as connection:
        owners: dict[str, ArtifactRow] = {}
        for spec in given["artifactFiles"]:
            owner = spec["artifactID"]
            if owner not in owners:
                owners[owner] = _required(store.find(connection, owner), owner)
            name = checked_name(spec["name"])
            found.append(FileRow(run_id=owner, name=name, size=0, md5="", updated_at=context.now))
    return {"files": artifact_reading.connection_of(found, has_more=False, total=len(found))}


@mutations.field("commitArtifact")
@mutation
def commit_artifact(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        row = _required(store.find(connection, given["artifactID"]), given["artifactID"])
        if store.manifest(connection, row.id) is None:
            raise GraphQLError(f"the artifact {row.id!r} has no manifest yet: upload it before the commit")
        store.commit(connection, row, context.now)
        return {"artifact": store.find(connection, row.id)}


@mutations.field("updateArtifact")
@mutation
def update_artifact(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        row = _required(store.find(connection, given["artifactID"]), given["artifactID"])
        told = {name: given[name] for name in ("description", "metadata") if given.get(name) is not None}
        store.update(connection, row.id, context.now, **told)
        if given.get("aliases") is not None:
            store.remove_aliases(connection, row.id, store.aliases(connection, row.id))
            store.add_aliases(
                connection, row, [_checked(each["alias"], "alias") for each in given["aliases"]]
            )
        return {"artifact": store.find(connection, row.id)}


@mutations.field("useArtifact")
@mutation
def use_artifact(context: Context, given: Payload) -> Payload:
    with context.unit.read() as connection:
        return {"artifact": _required(store.find(connection, given["artifactID"]), given["artifactID"])}


@mutations.field("addAliases")
@mutation
def add_aliases(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        row = _required(store.find(connection, given["artifactID"]), given["artifactID"])
        store.add_aliases(connection, row, [_checked(each["alias"], "alias") for each in given["aliases"]])
    return {"success": True}


@mutations.field("deleteAliases")
@mutation
def delete_aliases(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        store.remove_aliases(connection, given["artifactID"], [each["alias"] for each in given["aliases"]])
    return {"success": True}


@mutations.field("deleteArtifact")
@mutation
def delete_artifact(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        row = _required(store.find(connection, given["artifactID"]), given["artifactID"])
        store.remove_aliases(connection, row.id, store.aliases(connection, row.id))
        store.update(connection, row.id, context.now, state="DELETED", version=None)
        return {"artifact": store.find(connection, row.id)}


@mutations.field("deleteRun")
@mutation
def delete_run(context: Context, given: Payload) -> Payload:
    with context.unit.write() as connection:
        return {"success": run_store.delete(connection, given["id"])}


@file.field("displayName")
@file.field("storagePath")
def resolve_display_name(row: FileRow, _info: Info) -> str:
    return row.name


@file.field("digest")
def resolve_digest(row: FileRow, _info: Info) -> str:
    return base64.b64encode(bytes.fromhex(row.md5)).decode()


@file.field("uploadUrl")
def resolve_upload_url(row: FileRow, info: Info) -> str:
    context = context_of(info)
    return context.base_url + context.sign("PUT", row.run_id, row.name)


@file.field("uploadHeaders")
def resolve_upload_headers(_row: FileRow, _info: Info) -> list[str]:
    return []


@file.field("artifact")
def resolve_owner(row: FileRow, info: Info) -> ArtifactRow | None:
    with context_of(info).unit.read() as connection:
        return store.find(connection, row.run_id)


def _manifest(manifest_id: str) -> Payload:
    name = store.MANIFEST_NAME
    return {
        "id": manifest_id,
        "file": FileRow(run_id=manifest_id, name=name, size=0, md5="", updated_at=0.0),
    }


def _required(row: ArtifactRow | None, artifact_id: str) -> ArtifactRow:
    if row is None:
        raise GraphQLError(f"there is no artifact {artifact_id!r}")
    return row


def _checked(name: str, what: str) -> str:
    if not name or len(name) > _LONGEST_NAME or any(c in "/:" or not c.isprintable() for c in name):
        raise GraphQLError(
            f"{name[:80]!r} cannot be the {what} of an artifact: "
            f"1 to {_LONGEST_NAME} characters, none of them / or :"
        )
    return name


BINDABLES = [query, mutations, file, collection, *artifact_reading.BINDABLES]
