"""Writes artifacts to the backend: a version of a named collection, made of files.

    createArtifact ──> there already, by its digest: done
         └──> createArtifactManifest ──> createArtifactFiles ──> uploads ──> updateArtifactManifest ──> commit

The order is the official client's. Nothing is seen of a version before its commit, so an upload that is cut
off leaves nothing behind, and doing everything again completes it: an artifact is found again by its content.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from launch_agent.clients.http import TRANSIENT, NoAnswer, Retry
from launch_agent.errors import ConfigError, QueueError, QueueUnavailable
from launch_agent.queues.faults import words
from launch_agent.queues.session import Session

_RETRY = Retry(attempts=6, budget=20.0)
_ATTEMPTS = 5
_CONNECTIONS = 8
# Files whose places are asked for in one request.
_BATCH = 500
_PIECE = 1024 * 1024
_LONGEST_PATH = 1024
# What the official client hashes before the files (its manifest's first version).
_HEADER = b"wandb-artifact-manifest-v1\n"
_MANIFEST_NAME = "wandb_manifest.json"
_LAYOUT = "V2"

_CREATE = """mutation CreateArtifact($input: CreateArtifactInput!) { createArtifact(input: $input) {
  artifact { id state versionIndex artifactSequence { latestArtifact { id } } } } }"""
_MANIFEST = """mutation CreateArtifactManifest($artifactID: ID!, $name: String!, $digest: String!,
    $entityName: String!, $projectName: String!, $runName: String!, $manifestType: ArtifactManifestType!) {
  createArtifactManifest(input: {artifactID: $artifactID, name: $name, digest: $digest,
    entityName: $entityName, projectName: $projectName, runName: $runName, type: $manifestType}) {
    artifactManifest { id } } }"""
_FILES = """mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) {
  createArtifactFiles(input: $input) { files { edges { node {
    uploadUrl uploadHeaders artifact { id } } } } } }"""
_MANIFEST_PLACE = """mutation UpdateArtifactManifest($artifactManifestID: ID!, $digest: String) {
  updateArtifactManifest(input: {artifactManifestID: $artifactManifestID, digest: $digest}) {
    artifactManifest { file { uploadUrl uploadHeaders } } } }"""
_COMMIT = """mutation CommitArtifact($artifactID: ID!) {
  commitArtifact(input: {artifactID: $artifactID}) { artifact { id } } }"""
_VERSION = "query ArtifactByID($id: ID!) { artifact(id: $id) { versionIndex } }"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of an artifact: `content`, or what is at `source`. `path` has forward slashes."""

    path: str
    content: bytes = b""
    source: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A version that is to be. `kind` is the artifact's type; `metadata` is any JSON object."""

    kind: str
    collection: str
    files: Sequence[File]
    aliases: Sequence[str] = ()
    description: str = ""
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """`is_new`: this content was not there before. `is_first`: nor was the collection."""

    id: str
    version: int
    is_new: bool
    is_first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """A file with its size in bytes and its MD5, which is what artifacts are compared by."""

    file: File
    size: int
    md5: bytes
    birth: str = ""

    @property
    def digest(self) -> str:
        return base64.b64encode(self.md5).decode()

    def entry(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {"digest": self.digest, "size": self.size, "birthArtifactID": self.birth}


class ArtifactWriter:
    """Writes to one project. `run` is the run that artifacts are written down as the output of."""

    def __init__(self, session: Session, *, project: str, run: str) -> None:
        self._session = session
        self._graphql = session.graphql
        self._project = project
        self._run = run
        self._stop = threading.Event()

    def write(self, draft: Draft) -> Written:
        """Put the version there. Raises QueueError, and ConfigError for a file that cannot be read."""
        files = [_measured(file) for file in sorted(draft.files, key=lambda file: file.path)]
        created = self._asked("CreateArtifact", _CREATE, {"input": self._input(draft, files)})
        artifact = created["createArtifact"]["artifact"]
        made = Written(
            id=str(artifact["id"]),
            version=0,
            is_new=artifact["state"] != "COMMITTED",
            is_first=(artifact.get("artifactSequence") or {}).get("latestArtifact") is None,
        )
        if made.is_new:
            self._fill(made.id, files)
            self._asked("CommitArtifact", _COMMIT, {"artifactID": made.id})
        found = self._asked("ArtifactByID", _VERSION, {"id": made.id})["artifact"] or {}
        return replace(made, version=int(found.get("versionIndex") or 0))

    def _input(self, draft: Draft, files: Sequence[_Measured]) -> dict[str, Any]:
        aliases = dict.fromkeys([*draft.aliases, "latest"])
        return {
            "entityName": self._session.entity,
            "projectName": self._project,
            "runName": self._run,
            "artifactTypeName": draft.kind,
            "artifactCollectionNames": [draft.collection],
            "digest": _digest(files),
            "digestAlgorithm": "MANIFEST_MD5",
            "enableDigestDeduplication": True,
            "description": draft.description or None,
            "metadata": json.dumps(draft.metadata),
            "aliases": [{"artifactCollectionName": draft.collection, "alias": alias} for alias in aliases],
        }

    def _fill(self, artifact_id: str, files: Sequence[_Measured]) -> None:
        variables = {
            "artifactID": artifact_id,
            "name": _MANIFEST_NAME,
            "digest": "",
            "entityName": self._session.entity,
            "projectName": self._project,
            "runName": self._run,
            "manifestType": "FULL",
        }
        made = self._asked("CreateArtifactManifest", _MANIFEST, variables)["createArtifactManifest"]
        manifest_id = made["artifactManifest"]["id"]
        uploaded: list[_Measured] = []
        for start in range(0, len(files), _BATCH):
            uploaded += self._upload(artifact_id, manifest_id, files[start : start + _BATCH])
        manifest = _measured(File(path=_MANIFEST_NAME, content=_manifest(uploaded)))
        place = self._asked(
            "UpdateArtifactManifest",
            _MANIFEST_PLACE,
            {"artifactManifestID": manifest_id, "digest": manifest.digest},
        )["updateArtifactManifest"]["artifactManifest"]["file"]
        self._put(manifest, place)

    def _upload(self, artifact_id: str, manifest_id: str, files: Sequence[_Measured]) -> Sequence[_Measured]:
        """The files, with the artifact that holds each: content that the backend has is not sent again."""
        specs = [
            {
                "artifactID": artifact_id,
                "artifactManifestID": manifest_id,
                "name": each.file.path,
                "md5": each.digest,
            }
            for each in files
        ]
        wanted = {"input": {"artifactFiles": specs, "storageLayout": _LAYOUT}}
        answer = self._asked("CreateArtifactFiles", _FILES, wanted)["createArtifactFiles"]
        places = [edge["node"] for edge in answer["files"]["edges"]]
        if len(places) != len(files):
            raise QueueError(f"the backend has places for {len(places)} of {len(files)} files")
        pool = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="upload")
        try:
            pairs = zip(files, places, strict=True)
            for done in as_completed(
                [pool.submit(self._put, each, place) for each, place in pairs if place.get("uploadUrl")]
            ):
                done.result()
        finally:
            # Of a first failure the others hear: what waits is not begun, what pauses goes on no more.
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            self._stop.clear()
        births = [str((place.get("artifact") or {}).get("id") or artifact_id) for place in places]
        return [replace(each, birth=birth) for each, birth in zip(files, births, strict=True)]

    def _put(self, each: _Measured, place: Mapping[str, Any]) -> None:
        base = self._graphql.base_url
        url = urljoin(f"{base}/", str(place["uploadUrl"]))
        headers = {"Content-Length": str(each.size), **_headers(place.get("uploadHeaders") or ())}
        # The key belongs to the backend: a URL that is signed for a bucket of some cloud must not see it.
        if urlsplit(url)[:2] == urlsplit(base)[:2]:
            headers |= self._graphql.authorization()
        said = ""
        for attempt in range(_ATTEMPTS):
            if attempt and self._stop.wait(random.random() * 2.0**attempt):
                break
            try:
                with self._session.http.stream("PUT", url, headers=headers, body=_body(each)) as stream:
                    answer = stream.whole(_PIECE)
            except NoAnswer as error:
                said = error.reason
                continue
            if answer.status < 300:
                return
            said = f"HTTP {answer.status} {answer.excerpt()}"
            if answer.status not in TRANSIENT:
                raise QueueError(f"uploading {each.file.path}: {urlsplit(url).hostname} answered {said}")
        raise QueueUnavailable(f"uploading {each.file.path}: {said or 'another file failed'}")

    def _asked(self, operation: str, document: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            data = self._graphql.one(operation, document, variables, retry=_RETRY)
        except QueueUnavailable as error:
            raise QueueUnavailable(error.message, hint=error.hint or "doing it again completes it") from error
        found: Mapping[str, Any] = data
        if any(value is None for value in found.values()):
            raise QueueError(f"{words(operation)}: the backend did nothing, and gave no reason")
        return found


def _measured(file: File) -> _Measured:
    if len(file.path) > _LONGEST_PATH or not file.path.isprintable() or "\\" in file.path:
        raise ConfigError(
            f"{file.path[:100]!r} has a name that no artifact can have",
            hint="rename the file, or name it in .wandbignore",
        )
    md5 = hashlib.md5(usedforsecurity=False)
    size = 0
    for piece in _pieces(file):
        md5.update(piece)
        size += len(piece)
    return _Measured(file=file, size=size, md5=md5.digest())


def _pieces(file: File) -> Iterator[bytes]:
    if file.source is None:
        yield file.content
        return
    try:
        with file.source.open("rb") as opened:
            while piece := opened.read(_PIECE):
                yield piece
    except OSError as error:
        raise ConfigError(f"reading {file.path}: {error.strerror}") from error


def _body(each: _Measured) -> bytes | Iterator[bytes]:
    return b"".join(_unchanged(each)) if each.size <= _PIECE else _unchanged(each)


def _unchanged(each: _Measured) -> Iterator[bytes]:
    """The pieces of a file. Raises ConfigError where it is not what was measured: its artifact would be one
    that nobody can read."""
    md5 = hashlib.md5(usedforsecurity=False)
    left = each.size
    for piece in _pieces(each.file):
        md5.update(piece)
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left or md5.digest() != each.md5:
        raise ConfigError(f"{each.file.path} was changed while it was uploaded", hint="do it again")


def _digest(files: Sequence[_Measured]) -> str:
    md5 = hashlib.md5(_HEADER, usedforsecurity=False)
    for each in files:
        md5.update(f"{each.file.path}:{each.digest}\n".encode())
    return md5.hexdigest()


def _manifest(files: Sequence[_Measured]) -> bytes:
    return json.dumps(
        {
            "version": 1,
            "storagePolicy": "wandb-storage-policy-v1",
            "storagePolicyConfig": {"storageLayout": _LAYOUT},
            "contents": {each.file.path: each.entry() for each in files},
        }
    ).encode()


def _headers(lines: Sequence[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}
