"""What a run printed, read from the backend: its log lines, and the error.log of a failed item.

A run that reports itself streams its output to the backend, which keeps it as lines and, at the end, as the
file `output.log`. A run that does not (a plain container) leaves only what its agent uploaded on failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from launch_agent.clients.http import NoAnswer, Retry
from launch_agent.errors import QueueError, QueueUnavailable
from launch_agent.queues.faults import OlderServer
from launch_agent.queues.files import run_of
from launch_agent.queues.operations import PROJECT
from launch_agent.queues.registration import BRIEF
from launch_agent.queues.session import Session
from launch_agent.queues.submissions import Submission

_RETRY = Retry(attempts=4, budget=10.0)
_LINES = """query RunLogLines($project: String!, $entity: String!, $name: String!, $last: Int) {
  project(name: $project, entityName: $entity) { run(name: $name) {
    logLines(last: $last) { edges { node { line } } } } } }"""
_FILES = """query RunFiles($project: String!, $entity: String!, $name: String!, $fileNames: [String!]) {
  project(name: $project, entityName: $entity) { run(name: $name) {
    files(names: $fileNames, first: 1) { edges { node { name directUrl } } } } } }"""


class RunLogs:
    """Reads logs for a session's user. Every method may raise QueueError."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._graphql = session.graphql

    def of_run(self, entity: str, project: str, run_id: str, *, tail: int) -> str:
        """The last `tail` lines of a run; empty where it printed nothing or is not known."""
        variables = {"project": project, "entity": entity, "name": run_id, "last": tail}
        try:
            run = self._run("RunLogLines", _LINES, variables)
        except OlderServer:
            run = {}
        edges = (run.get("logLines") or {}).get("edges") or ()
        lines = [str(edge["node"]["line"]).rstrip("\n") for edge in edges]
        if not lines:
            lines = self._file(entity, project, run_id, "output.log").splitlines()
        return "\n".join(lines[-tail:])

    def of_failure(self, item: Submission, *, tail: int) -> str:
        """The last lines of what the agent uploaded when the item failed; empty where it uploaded nothing."""
        if not item.error_files or not item.agent:
            return ""
        texts = (self._file(item.entity, PROJECT, run_of(item.agent), path) for path in item.error_files)
        return "\n".join("\n".join(text.splitlines()[-tail:]) for text in texts)

    def _run(self, operation: str, document: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        project = self._graphql.one(operation, document, variables, retry=BRIEF).get("project") or {}
        run = project.get("run") or {}
        assert isinstance(run, Mapping)
        return run

    def _file(self, entity: str, project: str, run_id: str, name: str) -> str:
        variables = {"project": project, "entity": entity, "name": run_id, "fileNames": [name]}
        edges = (self._run("RunFiles", _FILES, variables).get("files") or {}).get("edges") or ()
        if not edges or not edges[0]["node"].get("directUrl"):
            return ""
        base = self._graphql.base_url
        url = urljoin(f"{base}/", edges[0]["node"]["directUrl"])
        # A URL that is signed for a bucket of some cloud must not see the key.
        own = urlsplit(url).netloc == urlsplit(base).netloc
        headers = self._graphql.authorization() if own else {}
        try:
            answer = self._session.http.request("GET", url, headers=headers, retry=_RETRY)
        except NoAnswer as error:
            raise QueueUnavailable(f"the file {name} of run {run_id} cannot be read: {error}") from error
        if answer.status == 404:
            return ""
        if answer.status >= 300:
            raise QueueError(f"the file {name} of run {run_id} cannot be read: HTTP {answer.status}")
        return answer.body.decode("utf-8", "replace")
