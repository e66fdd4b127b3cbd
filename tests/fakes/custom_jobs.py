"""Custom jobs of Vertex AI and Cloud Logging, as far as the agent uses them, on a loopback port.

Each job that is created is compared with the API's own description (the discovery document that
google-api-python-client brings): a field that the API does not have is refused, as the API does it. With
`runs` jobs run as processes of this machine; else tests move them from state to state.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import googleapiclient

from tests.fakes.local_container import LocalContainer
from tests.fakes.loopback import Loopback, Raw, Reply, Request, drop

_DOCUMENT = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "aiplatform.v1.json"
_JOB = "GoogleCloudAiplatformV1CustomJob"
_PAGE = 100
_LABEL = re.compile(r'labels\.([\w-]+)="([^"]*)"')
_STATE = re.compile(r'state="([A-Z_]+)"')
_SINCE = re.compile(r'create_time>"([^"]+)"')
_LIVE = ("JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING")
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class CustomJobs(Loopback):
    """`jobs` are the API's objects by name; `logs` the entries of each job, texts or whole ones.

    `refusals` answer the next requests in place of acting: a status and a message each; `broken_creates` the
    next creations, with whether the job is made all the same. `takes` says which tokens are taken, `allowed`
    which permissions their account has, None for all. `counts` is how many requests of each kind there were,
    `began` which jobs got to run. `startup` is the seconds until they do, `grace` those between the signals
    of a stop.
    """

    def __init__(self, *, token: str = "", runs: bool = False, grace: float = 10.0) -> None:
        self._schemas = json.loads(_DOCUMENT.read_text(encoding="utf-8"))["schemas"]
        self._guard = threading.RLock()
        self._number = 0
        self._runs = runs
        self._containers: dict[str, LocalContainer] = {}
        self._timers: dict[str, threading.Timer] = {}
        self._stopped: set[str] = set()
        self.began: list[str] = []
        self.grace = grace
        self.startup = 0.05
        self.jobs: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[Any]] = {}
        self.refusals: list[tuple[int, str]] = []
        self.broken_creates: list[tuple[int, str, bool]] = []
        self._left: int | None = None
        self._acts = False
        self.takes: Callable[[str], bool] = lambda sent: sent.startswith(token)
        self.allowed: frozenset[str] | None = None
        self.counts: Counter[str] = Counter()
        super().__init__(self._answer)

    def set_state(self, name: str, state: str, **fields: Any) -> None:
        with self._guard:
            self.jobs[name] |= {"state": f"JOB_STATE_{state}", **fields}

    def remove(self, name: str) -> None:
        """As somebody else would delete a job, whatever it does."""
        with self._guard:
            container = self._containers.pop(name, None)
            del self.jobs[name]
        if container is not None:
            container.close()

    def close(self) -> None:
        super().close()
        with self._guard:
            timers, containers = list(self._timers.values()), list(self._containers.values())
        for timer in timers:
            timer.cancel()
        for container in containers:
            container.close()

    def die(self, after: int, *, acts: bool) -> None:
        """Answer so many requests more, then none, as towards an agent that is killed: the first of these is
        acted upon, or not."""
        self._left, self._acts = after, acts

    def revive(self) -> None:
        self._left = None

    def _answer(self, request: Request) -> Reply | Raw:
        with self._guard:
            if self._left is None:
                return self._act(request)
            self._left -= 1
            if self._left >= 0:
                return self._act(request)
            if self._left == -1 and self._acts:
                self._act(request)
            return drop

    def _act(self, request: Request) -> Reply:
        if self.refusals:
            status, message = self.refusals.pop(0)
            return error(status, message)
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not self.takes(sent):
            return error(401, "Request had invalid authentication credentials.")
        address = urlsplit(request.path)
        if address.path.endswith(":testIamPermissions"):
            asked = request.json()["permissions"]
            has = asked if self.allowed is None else [name for name in asked if name in self.allowed]
            return Reply.of({"permissions": has})
        needed = _permission(request.method, address.path)
        if denied := self._denied(needed, request):
            return error(
                403, f"Permission '{denied}' denied on resource (or it may not exist).", "PERMISSION_DENIED"
            )
        if address.path == "/v2/entries:list":
            self.counts["logs"] += 1
            return self._entries(request.json())
        return self._custom_jobs(request, address.path.removeprefix("/v1/"), parse_qs(address.query))

    def _denied(self, needed: str, request: Request) -> str:
        """The permission that is missing, empty where none is. Who creates a job acts as its account."""
        if self.allowed is None:
            return ""
        both = [needed, "iam.serviceAccounts.actAs"] if needed.endswith(".create") else [needed]
        return next((name for name in both if name not in self.allowed), "")

    def _custom_jobs(self, request: Request, path: str, query: Mapping[str, list[str]]) -> Reply:
        if path.endswith("/customJobs"):
            if request.method == "GET":
                return self._list(query)
            self.counts["create"] += 1
            if self.broken_creates:
                status, message, acts = self.broken_creates.pop(0)
                if acts:
                    self._create(path, request.json())
                return error(status, message)
            return self._create(path, request.json())
        name, _, verb = path.partition(":")
        self.counts[verb or request.method.lower()] += 1
        if name not in self.jobs:
            return error(404, f"The CustomJob {name} does not exist.")
        job = self.jobs[name]
        if verb == "cancel":
            if job["state"] not in _LIVE:
                return error(400, f"The job cannot be cancelled in state {job['state']}.", _PRECONDITION)
            job["state"] = "JOB_STATE_CANCELLING"
            self._stop(name)
            return Reply.of({})
        if request.method == "DELETE":
            if job["state"] in (*_LIVE, "JOB_STATE_CANCELLING"):
                return error(400, f"The job cannot be deleted in state {job['state']}.", _PRECONDITION)
            del self.jobs[name]
            return Reply.of({"name": f"{name}/operations/1", "done": True})
        return Reply.of(job)

    def _create(self, path: str, job: Any) -> Reply:
        if unknown := self._unknown(job, _JOB, "custom_job"):
            return error(400, f"Invalid JSON payload received. Unknown name {unknown}")
        self._number += 1
        name = f"{path}/{self._number}"
        created = (_BEGINNING + timedelta(milliseconds=self._number)).isoformat().replace("+00:00", "Z")
        self.jobs[name] = {**job, "name": name, "state": "JOB_STATE_PENDING", "createTime": created}
        if self._runs:
            timer = threading.Timer(self.startup, self._begin, (name,))
            timer.daemon = True
            self._timers[name] = timer
            timer.start()
        return Reply.of(self.jobs[name])

    def _begin(self, name: str) -> None:
        """Machines are there: the container of the first pool runs, and is the job."""
        with self._guard:
            self._timers.pop(name, None)
            job = self.jobs.get(name)
            if job is None or job["state"] != "JOB_STATE_PENDING":
                return
            container = job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
            job["state"] = "JOB_STATE_RUNNING"
            self.began.append(name)
            self.logs[name] = []
            made = LocalContainer(
                [*container.get("command", ()), *container.get("args", ())],
                {each["name"]: each["value"] for each in container.get("env", ())},
                printed=self.logs[name].append,
                ended=lambda code: self._ended(name, code),
                grace=self.grace,
            )
            self._containers[name] = made

    def _ended(self, name: str, code: int) -> None:
        with self._guard:
            if name not in self.jobs:
                return
            if name in self._stopped:
                self.set_state(name, "CANCELLED")
            elif code == 0:
                self.set_state(name, "SUCCEEDED")
            else:
                said = f"The replica workerpool0-0 exited with a non-zero status of {code}."
                self.set_state(name, "FAILED", error={"code": 3, "message": said + self._last(name)})

    def _last(self, name: str) -> str:
        lines = self.logs.get(name, [])
        return f" {lines[-1]}" if lines and len(lines[-1]) < 200 else ""

    def _stop(self, name: str) -> None:
        self._stopped.add(name)
        if timer := self._timers.pop(name, None):
            timer.cancel()
            self.set_state(name, "CANCELLED")
        elif container := self._containers.get(name):
            container.stop()

    def _list(self, query: Mapping[str, list[str]]) -> Reply:
        self.counts["list"] += 1
        wanted = query["filter"][0]
        labels, states = dict(_LABEL.findall(wanted)), set(_STATE.findall(wanted))
        if since := _SINCE.search(wanted):
            datetime.fromisoformat(since[1])  # refused as the API refuses it
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
        newest = [line if isinstance(line, dict) else {"textPayload": line} for line in reversed(lines)]
        start = int(asked.get("pageToken", "0"))
        end = start + asked["pageSize"]
        more = {"nextPageToken": str(end)} if len(newest) > end else {}
        return Reply.of({"entries": newest[start:end], **more})

    def _unknown(self, value: Any, schema: str, place: str) -> str:
        """The first field that the API's description does not have, or that has another type there."""
        known = self._schemas[schema].get("properties", {})
        for key, item in value.items():
            if key not in known:
                return f'"{key}" at "{place}"'
            if not _fits(item, known[key]):
                return f'"{key}" at "{place}": {item!r}'
            inner = known[key].get("$ref") or known[key].get("items", {}).get("$ref")
            for each in (item if isinstance(item, list) else [item]) if inner else []:
                if found := self._unknown(each, inner, f"{place}.{key}"):
                    return found
        return ""


def _permission(method: str, path: str) -> str:
    """What Vertex AI and Cloud Logging check for a request (their pages on access control)."""
    if path == "/v2/entries:list":
        return "logging.logEntries.list"
    if path.endswith(":cancel"):
        return "aiplatform.customJobs.cancel"
    of_all = {"GET": "list", "POST": "create"}
    of_one = {"GET": "get", "DELETE": "delete"}
    return f"aiplatform.customJobs.{(of_all if path.endswith('/customJobs') else of_one)[method]}"


def _fits(value: Any, shape: Mapping[str, Any]) -> bool:
    """Whether a value has a field's type, as the JSON of Google's APIs has it."""
    if "$ref" in shape or shape["type"] == "object":
        return isinstance(value, dict)
    if shape["type"] == "array":
        return isinstance(value, list) and all(_fits(item, shape["items"]) for item in value)
    if shape.get("format") == "google-duration":
        return isinstance(value, str) and bool(re.fullmatch(r"\d+(\.\d{1,9})?s", value))
    if shape.get("format") in ("int32", "int64"):
        return isinstance(value, int) and not isinstance(value, bool)
    if "enum" in shape:
        return value in shape["enum"]
    return isinstance(value, bool if shape["type"] == "boolean" else str)


_PRECONDITION = "FAILED_PRECONDITION"


def error(status: int, message: str, word: str = "", details: Any = ()) -> Reply:
    """An answer of the API that says no."""
    body = {"code": status, "message": message, "status": word, "details": list(details)}
    return Reply.of({"error": body}, status=status)
