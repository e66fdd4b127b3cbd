"""Artifacts over the wire: pending, uploaded, committed, found again; and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.fakes.own_server import OwnServer

CREATE = """mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) { artifact { id state
    artifactSequence { id latestArtifact { id versionIndex } } } } }"""
MANIFEST = """mutation CreateArtifactManifest($id: ID!) {
  createArtifactManifest(input: {artifactID: $id, name: "wandb_manifest.json", digest: "", type: FULL}) {
    artifactManifest { id file { uploadUrl uploadHeaders } } } }"""
FILES = """mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) {
  createArtifactFiles(input: $input) {
    files { edges { node { storagePath uploadUrl uploadHeaders artifact { id } } } } } }"""
COMMIT = """mutation C($id: ID!) { commitArtifact(input: {artifactID: $id}) {
  artifact { id digest state versionIndex } } }"""
MEMBERSHIP = """query M($name: String!) { project(name: "jobs", entityName: "team") {
  artifactCollectionMembership(name: $name) { versionIndex artifact { id size fileCount aliases { alias }
    currentManifest { file { directUrl } } artifactType { name } } } } }"""
URLS = """query F($cursor: String) { project(name: "jobs", entityName: "team") {
  artifactCollection(name: "train") {
  artifactMembership(aliasName: "latest") { files(after: $cursor, first: 1) {
    pageInfo { endCursor hasNextPage } edges { node { name directUrl } } } } } } }"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path)
    yield made
    made.close()


def ask(server: OwnServer, query: str, **variables: Any) -> Any:
    return server.backend.query(query, **variables)


def put(url: str, data: bytes) -> int:
    return urllib3.request("PUT", url, body=data, timeout=10.0, retries=False).status


def get(url: str) -> bytes:
    return urllib3.request("GET", url, timeout=10.0, retries=False).data


def create(server: OwnServer, digest: str, *aliases: str, collection: str = "train") -> dict[str, Any]:
    given = {
        "artifactTypeName": "job",
        "artifactCollectionNames": [collection],
        "entityName": "team",
        "projectName": "jobs",
        "digest": digest,
        "aliases": [{"artifactCollectionName": collection, "alias": alias} for alias in aliases],
        "clientID": f"client-{digest}",
        "enableDigestDeduplication": True,
    }
    made = ask(server, CREATE, input=given)["createArtifact"]["artifact"]
    assert isinstance(made, dict)
    return made


def upload(server: OwnServer, artifact_id: str, files: dict[str, bytes]) -> None:
    made = ask(server, MANIFEST, id=artifact_id)["createArtifactManifest"]["artifactManifest"]
    specs = [
        {"artifactID": artifact_id, "artifactManifestID": made["id"], "name": name, "md5": md5(data)}
        for name, data in files.items()
    ]
    edges = ask(server, FILES, input={"artifactFiles": specs, "storageLayout": "V2"})
    for edge in edges["createArtifactFiles"]["files"]["edges"]:
        node = edge["node"]
        assert node["artifact"]["id"] == artifact_id
        assert put(node["uploadUrl"], files[node["storagePath"]]) == 200
    contents = {name: {"digest": md5(data), "size": len(data)} for name, data in files.items()}
    manifest = {"version": 1, "storagePolicy": "wandb-storage-policy-v1", "contents": contents}
    assert put(made["file"]["uploadUrl"], json.dumps(manifest).encode()) == 200


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def test_a_version_is_there_once_it_is_committed(server: OwnServer) -> None:
    made = create(server, "d0", "best")
    assert (made["state"], made["artifactSequence"]["latestArtifact"]) == ("PENDING", None)
    upload(server, made["id"], {"wandb-job.json": b"{}", "lib/a b.py": b"A = 1"})
    assert ask(server, MEMBERSHIP, name="train:best")["project"]["artifactCollectionMembership"] is None
    committed = ask(server, COMMIT, id=made["id"])["commitArtifact"]["artifact"]
    assert (committed["state"], committed["versionIndex"]) == ("COMMITTED", 0)
    for name in ("train:best", "train:latest", "train:v0", "train"):
        found = ask(server, MEMBERSHIP, name=name)["project"]["artifactCollectionMembership"]
        assert (found["versionIndex"], found["artifact"]["fileCount"], found["artifact"]["size"]) == (0, 2, 7)
        assert {each["alias"] for each in found["artifact"]["aliases"]} == {"best", "latest"}
    manifest = json.loads(get(found["artifact"]["currentManifest"]["file"]["directUrl"]))
    assert set(manifest["contents"]) == {"wandb-job.json", "lib/a b.py"}
    seen: dict[str, bytes] = {}
    cursor = None
    while True:
        page = ask(server, URLS, cursor=cursor)["project"]["artifactCollection"]["artifactMembership"][
            "files"
        ]
        seen |= {edge["node"]["name"]: get(edge["node"]["directUrl"]) for edge in page["edges"]}
        if not page["pageInfo"]["hasNextPage"]:
            break
        cursor = page["pageInfo"]["endCursor"]
    assert seen == {"wandb-job.json": b"{}", "lib/a b.py": b"A = 1"}


def test_equal_content_is_one_version_and_aliases_move(server: OwnServer) -> None:
    first = create(server, "d0", "best")
    again = create(server, "d0", "best")
    assert again["id"] == first["id"]
    upload(server, first["id"], {"a": b"1"})
    ask(server, COMMIT, id=first["id"])
    same = create(server, "d0", "stable")
    assert (same["id"], same["state"]) == (first["id"], "COMMITTED")
    other = create(server, "d1", "best")
    upload(server, other["id"], {"a": b"2"})
    still = ask(server, MEMBERSHIP, name="train:best")["project"]["artifactCollectionMembership"]
    assert still["artifact"]["id"] == first["id"]
    ask(server, COMMIT, id=other["id"])
    moved = ask(server, MEMBERSHIP, name="train:best")["project"]["artifactCollectionMembership"]
    assert (moved["artifact"]["id"], moved["versionIndex"]) == (other["id"], 1)
    kept = ask(server, MEMBERSHIP, name="train:stable")["project"]["artifactCollectionMembership"]
    assert kept["artifact"]["id"] == first["id"]
    elsewhere = create(server, "d0", collection="another")
    assert elsewhere["id"] not in (first["id"], other["id"])


def test_what_was_not_uploaded_cannot_be_committed(server: OwnServer) -> None:
    made = create(server, "d0")
    with pytest.raises(AssertionError, match="no manifest yet"):
        ask(server, COMMIT, id=made["id"])
    with pytest.raises(AssertionError, match="no artifact"):
        ask(server, COMMIT, id="art-none")
    for name in ("../x", "/etc/passwd", "", "a/../../b"):
        with pytest.raises(AssertionError, match="cannot be the name"):
            ask(server, FILES, input={"artifactFiles": [{"artifactID": made["id"], "name": name}]})
    with pytest.raises(AssertionError, match="cannot be the collection"):
        create(server, "d1", collection="a:b")
    unsigned = f"{server.server.url}/storage/{made['id']}/x"
    assert put(unsigned, b"") == 401
    assert put(unsigned + "?expires=9999999999&signature=00", b"") == 403


def test_artifacts_outlive_the_server(tmp_path: Path) -> None:
    server = OwnServer(tmp_path)
    made = create(server, "d0")
    upload(server, made["id"], {"a": b"1"})
    ask(server, COMMIT, id=made["id"])
    server.close()
    server = OwnServer(tmp_path)
    try:
        found = ask(server, MEMBERSHIP, name="train:v0")["project"]["artifactCollectionMembership"]
        assert found["artifact"]["id"] == made["id"]
    finally:
        server.close()
