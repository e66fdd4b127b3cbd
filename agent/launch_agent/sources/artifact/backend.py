"""Asks the backend about artifacts: which one a name or an id means, its manifest, where its files are.

The fields are those that every release of the backend answers; the operations are the official client's.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from launch_agent.clients.http import HttpClient, NoAnswer, Response, Retry
from launch_agent.errors import SourceDenied, SourceError, SourceNotFound
from launch_agent.sources.artifact.manifest import Found, Name
from launch_agent.spec.secret import Secret

_ARTIFACT = """id digest versionIndex artifactType { name }
    artifactSequence { name project { name entity { name } } }"""
_BY_NAME = f"""query ArtifactMembershipByName($entity: String!, $project: String!, $name: String!) {{
  project(name: $project, entityName: $entity) {{ artifactCollectionMembership(name: $name) {{
    artifact {{ {_ARTIFACT} }} }} }} }}"""
_BY_ID = f"query ArtifactByID($id: ID!) {{ artifact(id: $id) {{ {_ARTIFACT} }} }}"
_MANIFEST = """query FetchArtifactManifest($id: ID!) {
  artifact(id: $id) { currentManifest { file { directUrl } } } }"""
_FILES = """query GetArtifactMembershipFileUrls($entity: String!, $project: String!, $collection: String!,
    $alias: String!, $cursor: String, $perPage: Int) {
  project(name: $project, entityName: $entity) { artifactCollection(name: $collection) { __typename
    artifactMembership(aliasName: $alias) { files(after: $cursor, first: $perPage) {
      pageInfo { endCursor hasNextPage } edges { node { name directUrl } } } } } } }"""
_PAGE = 1000
_RETRY = Retry(attempts=5, budget=60.0, base=0.5, cap=10.0)
_MOST_REDIRECTS = 5
_DENIED = re.compile(r"permission|denied|unauthorized|forbidden|not authorized", re.IGNORECASE)


class Backend:
    """One backend and one key, over the HTTP client of its queues. Safe to use from several threads."""

    def __init__(self, base_url: str, api_key: Secret, http: HttpClient) -> None:
        self.base_url = base_url.rstrip("/")
        self.http = http
        self._api_key = api_key

    def by_name(self, name: Name) -> Found:
        """Raises SourceNotFound, SourceDenied, SourceError."""
        data = self._ask(
            "ArtifactMembershipByName",
            _BY_NAME,
            {"entity": name.entity, "project": name.project, "name": f"{name.collection}:{name.alias}"},
            f"looking for {name}",
        )
        membership = _dig(data, "project", "artifactCollectionMembership", "artifact")
        if membership is None:
            raise SourceNotFound(
                f"there is no job or artifact {name}, or the agent's API key may not see it",
                hint="check the name, its alias, and the teams that the agent's key belongs to",
            )
        return _found(membership, name)

    def by_id(self, artifact_id: str) -> Found:
        """Raises SourceNotFound, SourceDenied, SourceError."""
        data = self._ask(
            "ArtifactByID", _BY_ID, {"id": artifact_id}, f"looking for the artifact {artifact_id}"
        )
        artifact = _dig(data, "artifact")
        if artifact is None:
            raise SourceNotFound(
                f"there is no artifact of the id {artifact_id}, or the agent's API key may not see it",
                hint="was the code deleted? Create the job anew",
            )
        return _found(artifact, None)

    def manifest(self, found: Found) -> object:
        """The manifest as JSON says it. Raises SourceError."""
        doing = f"reading the manifest of {found.name}"
        data = self._ask("FetchArtifactManifest", _MANIFEST, {"id": found.id}, doing)
        url = _dig(data, "artifact", "currentManifest", "file", "directUrl")
        if not isinstance(url, str):
            raise SourceNotFound(f"{found.name} has no manifest", hint="was its upload finished?")
        answer = self.get(url, doing)
        try:
            return answer.json()
        except ValueError as error:
            raise SourceError(f"{doing}: it is not JSON: {answer.excerpt(80)}", retryable=True) from error

    def urls(self, found: Found, stop: threading.Event) -> Iterator[tuple[str, str]]:
        """Path and URL of each file."""
        cursor: str | None = None
        while not stop.is_set():
            data = self._ask(
                "GetArtifactMembershipFileUrls",
                _FILES,
                {
                    "entity": found.name.entity,
                    "project": found.name.project,
                    "collection": found.name.collection,
                    "alias": found.name.alias,
                    "cursor": cursor,
                    "perPage": _PAGE,
                },
                f"listing the files of {found.name}",
            )
            page = _dig(data, "project", "artifactCollection", "artifactMembership", "files")
            if not isinstance(page, Mapping):
                raise SourceNotFound(f"the files of {found.name} are not listed", hint="was it deleted?")
            for edge in page.get("edges") or ():
                name, url = _dig(edge, "node", "name"), _dig(edge, "node", "directUrl")
                if isinstance(name, str) and isinstance(url, str):
                    yield name, url
            after = _dig(page, "pageInfo", "endCursor")
            if not _dig(page, "pageInfo", "hasNextPage") or after == cursor:
                return
            cursor = str(after)

    def get(self, url: str, doing: str) -> Response:
        """A whole file, through redirects. Raises SourceError, SourceDenied, SourceNotFound."""
        for _ in range(_MOST_REDIRECTS):
            url = self.absolute(url)
            try:
                answer = self.http.request("GET", url, headers=self.headers_for(url), retry=_RETRY)
            except NoAnswer as error:
                raise SourceError(f"{doing}: {error.reason}", retryable=True) from error
            if answer.status in (301, 302, 303, 307, 308) and answer.headers.get("location"):
                url = urljoin(url, answer.headers["location"])
                continue
            if answer.status != 200:
                raise refused(answer.status, doing, answer.excerpt())
            return answer
        raise SourceError(f"{doing}: it is redirected again and again")

    def absolute(self, url: str) -> str:
        """A URL that the backend told, complete. Raises SourceError for one that is not HTTP's."""
        url = urljoin(f"{self.base_url}/", url)
        if urlsplit(url).scheme not in ("http", "https"):
            raise SourceError(f"the backend says that a file is at {url[:60]!r}, which is no web address")
        return url

    def headers_for(self, url: str) -> dict[str, str]:
        """The API key, where the URL is the backend's own; a bucket's signed URL must not see it."""
        target, own = urlsplit(url), urlsplit(self.base_url)
        if (target.scheme, target.netloc) != (own.scheme, own.netloc):
            return {}
        token = base64.b64encode(b"api:" + self._api_key.reveal().encode()).decode()
        return {"Authorization": f"Basic {token}"}

    def _ask(self, operation: str, document: str, variables: Mapping[str, Any], doing: str) -> Any:
        url = f"{self.base_url}/graphql"
        body = json.dumps({"query": document, "variables": dict(variables), "operationName": operation})
        headers = {"Content-Type": "application/json", **self.headers_for(url)}
        try:
            answer = self.http.request("POST", url, headers=headers, body=body.encode(), retry=_RETRY)
        except NoAnswer as error:
            raise SourceError(f"{doing}: {error.reason}", retryable=True) from error
        if answer.status != 200:
            raise refused(answer.status, doing, answer.excerpt())
        try:
            told = answer.json()
        except ValueError as error:
            raise SourceError(
                f"{doing}: the backend's answer is not JSON: {answer.excerpt(80)}", retryable=True
            ) from error
        errors = told.get("errors") if isinstance(told, Mapping) else None
        if errors:
            text = "; ".join(str(_dig(each, "message"))[:200] for each in errors[:3])
            kind = SourceDenied if _DENIED.search(text) else SourceError
            raise kind(f"{doing}: the backend says: {text}")
        return _dig(told, "data")


def refused(status: int, doing: str, said: str) -> SourceError:
    """An HTTP status that is no success."""
    text = f"{doing}: HTTP {status} {said}".strip()
    if status in (401, 403):
        return SourceDenied(text, hint="the agent's API key must be able to read the job's project")
    if status in (404, 410):
        return SourceNotFound(text, hint="was it deleted?")
    return SourceError(text, retryable=status == 429 or status >= 500)


def _found(raw: Any, asked: Name | None) -> Found:
    entity = _dig(raw, "artifactSequence", "project", "entity", "name")
    project = _dig(raw, "artifactSequence", "project", "name")
    collection, version = _dig(raw, "artifactSequence", "name"), _dig(raw, "versionIndex")
    if isinstance(collection, str) and isinstance(project, str) and isinstance(entity, str):
        alias = f"v{version}" if isinstance(version, int) else asked.alias if asked else "latest"
        name = Name(entity=entity, project=project, collection=collection, alias=alias)
    elif asked is not None:
        name = asked
    else:
        raise SourceError("the backend does not say which collection the artifact is in")
    return Found(
        id=str(_dig(raw, "id")),
        name=name,
        type=str(_dig(raw, "artifactType", "name") or ""),
        digest=str(_dig(raw, "digest") or ""),
    )


def _dig(value: Any, *keys: str) -> Any:
    """What lies below the keys; None where something on the way is not a mapping."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
