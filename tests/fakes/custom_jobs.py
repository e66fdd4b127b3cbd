"""Custom jobs of Vertex AI and Cloud Logging, as far as the agent uses them, on a loopback port.

Each job that is created is compared with the API's own description (the discovery document that
google-api-python-client brings): a field that the API does not have is refused, as the API does it. Tests
move jobs from state to state.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import googleapiclient

from tests.fakes.loopback import Loopback, Reply, Request

_DOCUMENT = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "aiplatform.v1.json"
_JOB = "GoogleCloudAiplatformV1CustomJob"
_PAGE = 100
_LABEL = re.compile(r'labels\.([\w-]+)="([^"]*)"')
_STATE = re.compile(r'state="([A-Z_]+)"')


class CustomJobs(Loopback):
    """`jobs` are the API's objects by name; `logs` the lines of each job. `refusals` answer the next requests
    in place of acting: a status and a message each."""

    def __init__(self, *, token: str = "") -> None:
        self._schemas = json.loads(_DOCUMENT.read_text(encoding="utf-8"))["schemas"]
        self._guard = threading.Lock()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[str]] = {}
        self.refusals: list[tuple[int, str]] = []
        self.token = token
        self.lists = 0
        super().__init__(self._answer)

    def set_state(self, name: str, state: str, **fields: Any) -> None:
        with self._guard:
            self.jobs[name] |= {"state": f"JOB_STATE_{state}", **fields}

    def _answer(self, request: Request) -> Reply:
        with self._guard:
            if self.refusals:
                status, message = self.refusals.pop(0)
                return _error(status, message)
            if not request.headers.get("authorization", "").startswith(f"Bearer {self.token}"):
                return _error(401, "Request had invalid authentication credentials.")
            address = urlsplit(request.path)
            if address.path == "/v2/entries:list":
                return self._entries(request.json())
            return self._custom_jobs(request, address.path.removeprefix("/v1/"), parse_qs(address.query))

    def _custom_jobs(self, request: Request, path: str, query: Mapping[str, list[str]]) -> Reply:
        if path.endswith("/customJobs"):
            if request.method == "GET":
                return self._list(query)
            return self._create(path, request.json())
        name, _, verb = path.partition(":")
        if name not in self.jobs:
            return _error(404, f"The CustomJob {name} does not exist.")
        job = self.jobs[name]
        if verb == "cancel":
            if job["state"] in ("JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
                job["state"] = "JOB_STATE_CANCELLING"
            return Reply.of({})
        if request.method == "DELETE":
            del self.jobs[name]
            return Reply.of({"name": f"{name}/operations/1", "done": True})
        return Reply.of(job)

    def _create(self, path: str, job: Any) -> Reply:
        if unknown := self._unknown(job, _JOB, "custom_job"):
            return _error(400, f"Invalid JSON payload received. Unknown name {unknown}")
        number = len(self.jobs) + 1
        name = f"{path}/{number}"
        self.jobs[name] = {
            **job,
            "name": name,
            "state": "JOB_STATE_PENDING",
            "createTime": f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z",
        }
        return Reply.of(self.jobs[name])

    def _list(self, query: Mapping[str, list[str]]) -> Reply:
        self.lists += 1
        wanted = query["filter"][0]
        labels, states = dict(_LABEL.findall(wanted)), set(_STATE.findall(wanted))
        found = [
            job
            for job in self.jobs.values()
            if labels.items() <= job["labels"].items() and (not states or job["state"] in states)
        ]
        start = int(query.get("pageToken", ["0"])[0])
        page = found[start : start + _PAGE]
        if mask := query.get("readMask"):
            page = [{key: job[key] for key in mask[0].split(",") if key in job} for job in page]
        answer: dict[str, Any] = {"customJobs": page}
        if len(found) > start + _PAGE:
            answer["nextPageToken"] = str(start + _PAGE)
        return Reply.of(answer)

    def _entries(self, asked: Mapping[str, Any]) -> Reply:
        found = re.search(r'job_id="(\d+)"', asked["filter"])
        assert found is not None
        lines = next((lines for name, lines in self.logs.items() if name.endswith(f"/{found[1]}")), [])
        assert asked["orderBy"] == "timestamp desc"
        newest = [{"textPayload": line} for line in reversed(lines)]
        return Reply.of({"entries": newest[: asked["pageSize"]]})

    def _unknown(self, value: Any, schema: str, place: str) -> str:
        """The first field that the API's description does not have."""
        known = self._schemas[schema].get("properties", {})
        for key, item in value.items():
            if key not in known:
                return f'"{key}" at "{place}"'
            inner = known[key].get("$ref") or known[key].get("items", {}).get("$ref")
            for each in (item if isinstance(item, list) else [item]) if inner else []:
                if found := self._unknown(each, inner, f"{place}.{key}"):
                    return found
        return ""


def _error(status: int, message: str) -> Reply:
    return Reply.of({"error": {"code": status, "message": message}}, status=status)
