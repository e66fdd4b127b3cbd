"""Uploads the log of a failure to the backend, so that its pages can show it beside the queue item.

The backend keeps files with runs, so the agent has a run of its own (named after it, job type
`sweep-controller`, which is what the backend's pages expect of an agent). Everything here is best effort: a
failure whose log cannot be stored is still reported, without it.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from urllib.parse import quote, urljoin, urlsplit

from launch_agent.clients.http import HttpClient, NoAnswer, Retry
from launch_agent.errors import QueueError
from launch_agent.queues.graphql import GraphQL
from launch_agent.queues.operations import PROJECT

log = logging.getLogger(__name__)

# What a page can still show; the end of a log is where the cause stands.
_LARGEST_LOG = 1024 * 1024
# An upload delays the report of the failure, so it gets little time.
_RETRY = Retry(attempts=3, budget=5.0)

_UPSERT = """mutation UpsertBucket($name: String, $project: String, $entity: String, $jobType: String) {
  upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, jobType: $jobType}) {
    bucket { id name } inserted } }"""
_CREATE = """mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
    runID uploadHeaders files { name uploadUrl } } }"""


class FailureFiles:
    """Stores files under the agent's own run. Safe to use from several threads."""

    def __init__(self, graphql: GraphQL, http: HttpClient) -> None:
        self._graphql = graphql
        self._http = http
        self._lock = threading.Lock()
        self._known_run = ("", "")

    def store(self, *, entity: str, agent: str, item_id: str, log_text: str) -> list[str]:
        """Upload a failure's log; the paths to name in the report, none where it could not be stored."""
        run = run_of(agent)
        path = f"{item_id}/error/error.log"
        content = log_text.encode("utf-8", "replace")[-_LARGEST_LOG:]
        try:
            self._ensure_run(entity, run)
            self._upload(entity, run, path, content)
        except (QueueError, NoAnswer, KeyError, TypeError, ValueError) as error:
            log.warning("the log of item %s could not be uploaded: %s", item_id, error)
            return []
        return [path]

    def _ensure_run(self, entity: str, run: str) -> None:
        with self._lock:
            if self._known_run == (entity, run):
                return
            variables = {"name": run, "project": PROJECT, "entity": entity, "jobType": "sweep-controller"}
            self._graphql.one("UpsertBucket", _UPSERT, variables, retry=_RETRY)
            self._known_run = (entity, run)

    def _upload(self, entity: str, run: str, path: str, content: bytes) -> None:
        variables = {"entity": entity, "project": PROJECT, "run": run, "files": [path]}
        created = self._graphql.one("CreateRunFiles", _CREATE, variables, retry=_RETRY)["createRunFiles"]
        url = urljoin(f"{self._graphql.base_url}/", created["files"][0]["uploadUrl"])
        headers = dict(_header(line) for line in created["uploadHeaders"] or ())
        # The key belongs to the backend: a URL that is signed for a bucket of some cloud must not see it.
        if urlsplit(url).netloc == urlsplit(self._graphql.base_url).netloc:
            headers |= self._graphql.authorization()
        self._sent("PUT", url, headers, content)
        place = "/".join(quote(part, safe="") for part in (entity, PROJECT, run))
        self._sent(
            "POST",
            f"{self._graphql.base_url}/files/{place}/file_stream",
            {"Content-Type": "application/json", **self._graphql.authorization()},
            json.dumps({"uploaded": [path]}).encode(),
        )

    def _sent(self, method: str, url: str, headers: dict[str, str], body: bytes) -> None:
        answer = self._http.request(method, url, headers=headers, body=body, retry=_RETRY)
        if answer.status >= 300:
            host = urlsplit(url).hostname
            raise ValueError(f"{method} to {host} answered HTTP {answer.status}: {answer.excerpt()}")


def run_of(agent: str) -> str:
    """The id of the run that an agent keeps its files in: its name, as far as a run may be called so."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", agent)[:64] or "launch-agent"


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()
