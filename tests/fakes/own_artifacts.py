"""Puts artifacts on the embedded server as the official client does, and in ways it never would."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import urllib3

from tests.fakes.own_server import OwnServer

_CREATE = """mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) { artifact { id } } }"""
_MANIFEST = """mutation CreateArtifactManifest($id: ID!) {
  createArtifactManifest(input: {artifactID: $id, name: "wandb_manifest.json", digest: "", type: FULL}) {
    artifactManifest { id file { uploadUrl } } } }"""
_FILES = """mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) {
  createArtifactFiles(input: $input) { files { edges { node { storagePath uploadUrl } } } } }"""
_COMMIT = "mutation C($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id } } }"

ENTITY = "team"
Entries = dict[str, dict[str, Any]]


def entry(data: bytes) -> dict[str, Any]:
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return {"digest": base64.b64encode(digest).decode(), "size": len(data)}


def digest_of(entries: Entries) -> str:
    """What the official client calls a manifest's digest."""
    md5 = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for path, each in sorted(entries.items()):
        md5.update(f"{path}:{each['digest']}\n".encode())
    return md5.hexdigest()


def put_artifact(
    server: OwnServer,
    name: str,
    files: Mapping[str, bytes],
    *,
    kind: str = "code",
    changed: Entries | None = None,
    digest: str = "",
) -> str:
    """Upload and commit a version of `team/project/collection`; returns its id. `changed` is laid over the
    manifest's entries, `digest` is told in place of the right one."""
    project, _, collection = name.partition("/")
    entries = {path: entry(data) for path, data in files.items()} | (changed or {})
    given = {
        "artifactTypeName": kind,
        "artifactCollectionNames": [collection],
        "entityName": ENTITY,
        "projectName": project,
        "digest": digest or digest_of(entries),
    }
    made = str(server.backend.query(_CREATE, input=given)["createArtifact"]["artifact"]["id"])
    manifest = server.backend.query(_MANIFEST, id=made)["createArtifactManifest"]["artifactManifest"]
    if files:
        specs = [{"artifactID": made, "name": path} for path in files]
        answer = server.backend.query(_FILES, input={"artifactFiles": specs})
        for edge in answer["createArtifactFiles"]["files"]["edges"]:
            _put(edge["node"]["uploadUrl"], files[edge["node"]["storagePath"]])
    _put(manifest["file"]["uploadUrl"], json.dumps({"version": 1, "contents": entries}).encode())
    server.backend.query(_COMMIT, id=made)
    return made


def put_job(server: OwnServer, name: str, job: Mapping[str, Any], **files: bytes) -> str:
    """A job artifact with its `wandb-job.json`; an underscore of a file's name stands for a dot."""
    content = {"wandb-job.json": json.dumps(job).encode()}
    content |= {key.replace("_", "."): data for key, data in files.items()}
    return put_artifact(server, name, content, kind="job")


def _put(url: str, data: bytes) -> None:
    answer = urllib3.request("PUT", url, body=data, timeout=10.0, retries=False)
    assert answer.status == 200, answer.data
