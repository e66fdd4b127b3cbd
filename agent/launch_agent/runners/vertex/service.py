"""The REST API of Vertex AI, and Cloud Logging's, over HTTP with fresh credentials and timeouts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import google.auth.exceptions
import google.auth.transport.urllib3
import urllib3

from launch_agent.clients.http import HttpClient, NoAnswer, Response, Retry
from launch_agent.errors import CloudError, RunnerError
from launch_agent.runners.vertex import refusals
from launch_agent.telemetry.targets import Usage

# Asking twice is harmless; creating twice is not: that is sent again only where it cannot have arrived.
_ASK = Retry(attempts=4, budget=20.0)
_DO = Retry(attempts=4, budget=20.0, unsent_only=True)
_PAGE = 100
_SECONDS = 20.0


class Service:
    """One project and region. `session` gives the agent's credentials; `endpoints` are addresses in place of
    the cloud's own, by service (`aiplatform`, `logging`): private endpoints, or a test's."""

    def __init__(
        self,
        http: HttpClient,
        session: Callable[[], Any],
        *,
        project: str,
        region: str,
        endpoints: Mapping[str, str],
    ) -> None:
        self.project = project
        self._http = http
        self._session = session
        self.region = region
        self._endpoints = endpoints
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._counting = threading.Lock()
        self._requests: dict[tuple[str, str], tuple[int, float]] = {}

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.region}"

    def get(self, what: str, name: str) -> Any:
        """One job by its full name. Raises JobMissing and the other kinds of RunnerError."""
        return self._send(what, "GET", f"{self._aiplatform()}/v1/{name}", retry=_ASK)

    def create(self, what: str, job: Mapping[str, Any], *, secrets: Sequence[str] = ()) -> Any:
        """Create a job; `secrets` are texts in it that no message may hold."""
        url = f"{self._aiplatform()}/v1/{self.parent}/customJobs"
        return self._send(what, "POST", url, body=job, retry=_DO, secrets=secrets)

    def cancel(self, what: str, name: str) -> None:
        self._send(what, "POST", f"{self._aiplatform()}/v1/{name}:cancel", body={}, retry=_ASK)

    def delete(self, what: str, name: str) -> None:
        self._send(what, "DELETE", f"{self._aiplatform()}/v1/{name}", retry=_ASK)

    def find(self, what: str, wanted: str, *, fields: str = "") -> Iterator[tuple[int, Any]]:
        """The jobs that match the filter `wanted`, each with the number of its page. `fields` is the API's
        read mask; empty gives jobs whole."""
        query = {"filter": wanted, "pageSize": str(_PAGE), **({"readMask": fields} if fields else {})}
        page = 0
        while True:
            page += 1
            url = f"{self._aiplatform()}/v1/{self.parent}/customJobs?{urlencode(query)}"
            answer = self._send(what, "GET", url, retry=_ASK)
            for job in answer.get("customJobs", ()):
                yield page, job
            if not answer.get("nextPageToken"):
                return
            query["pageToken"] = answer["nextPageToken"]

    def log_entries(self, what: str, job_id: str, count: int, *, since: str = "") -> list[Any]:
        """The last entries of a job's log, newest first. `since` is when the job was created."""
        wanted = f'resource.type="ml_job" AND resource.labels.job_id="{job_id}"'
        found: list[Any] = []
        body: dict[str, Any] = {
            "resourceNames": [f"projects/{self.project}"],
            "filter": f'{wanted} AND timestamp>="{since}"' if since else wanted,
            "orderBy": "timestamp desc",
            "pageSize": min(count, 1000),
        }
        while len(found) < count:
            answer = self._send(what, "POST", f"{self._logging()}/v2/entries:list", body=body, retry=_ASK)
            found += answer.get("entries", ())
            if not answer.get("nextPageToken"):
                break
            body["pageToken"] = answer["nextPageToken"]
        return found[:count]

    def missing(self, what: str, permissions: Sequence[str]) -> list[str]:
        """Those of the permissions that the agent's account lacks on the project. Anybody may ask."""
        base = self._endpoint("cloudresourcemanager", "https://cloudresourcemanager")
        url = f"{base}/v1/projects/{self.project}:testIamPermissions"
        answer = self._send(what, "POST", url, body={"permissions": list(permissions)}, retry=_ASK)
        return [name for name in permissions if name not in answer.get("permissions", ())]

    def usage(self) -> Usage:
        """What was asked for since the start, by verb and status."""
        with self._counting:
            return Usage(requests=dict(self._requests))

    def close(self) -> None:
        self._http.close()

    def _aiplatform(self) -> str:
        return self._endpoint("aiplatform", f"https://{self.region}-aiplatform")

    def _logging(self) -> str:
        return self._endpoint("logging", "https://logging")

    def _endpoint(self, service: str, usual: str) -> str:
        """A service's address: one that the config names, else that of the cloud's own universe, which the
        credentials know (another than googleapis.com for clouds that Google's partners run)."""
        if named := self._endpoints.get(service, "").rstrip("/"):
            return named
        with self._lock:
            known = self._known(f"find the address of {service}")
        return f"{usual}.{getattr(known, 'universe_domain', '') or 'googleapis.com'}"

    def _send(
        self,
        what: str,
        method: str,
        url: str,
        *,
        retry: Retry,
        body: Mapping[str, Any] | None = None,
        secrets: Sequence[str] = (),
    ) -> Any:
        answer = self._once(what, method, url, retry=retry, body=body, fresh=False)
        if answer.status == 401:
            answer = self._once(what, method, url, retry=retry, body=body, fresh=True)
        if answer.status >= 300:
            raise refusals.refused(what, answer, secrets)
        try:
            return json.loads(answer.body or b"{}")
        except ValueError as error:
            raise RunnerError(f"cannot {what}: the answer is not JSON", retryable=True) from error

    def _once(
        self,
        what: str,
        method: str,
        url: str,
        *,
        retry: Retry,
        body: Mapping[str, Any] | None,
        fresh: bool,
    ) -> Response:
        headers = {"Authorization": f"Bearer {self._token(what, fresh=fresh)}", "Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        begun, code = time.monotonic(), "none"
        try:
            answer = self._http.request(method, url, headers=headers, body=data, retry=retry)
            code = str(answer.status)
        except NoAnswer as error:
            raise RunnerError(
                f"cannot {what}: {error}", hint="is Google Cloud reachable from here?", retryable=True
            ) from error
        finally:
            self._count(_verb(method, url), code, time.monotonic() - begun)
        return answer

    def _count(self, verb: str, code: str, seconds: float) -> None:
        with self._counting:
            number, taken = self._requests.get((verb, code), (0, 0.0))
            self._requests[verb, code] = (number + 1, taken + seconds)

    def _known(self, what: str, *, fresh: bool = False) -> Any:
        """The agent's credentials, found anew where they are not taken any more."""
        if self._credentials is None or fresh:
            try:
                self._credentials = self._session()
            except CloudError as error:
                raise RunnerError(
                    f"cannot {what}: {error.message}", hint=error.hint, retryable=True
                ) from error
        return self._credentials

    def _token(self, what: str, *, fresh: bool) -> str:
        """A valid access token; one refresh for all threads that need it."""
        with self._lock:
            known = self._known(what, fresh=fresh)
            try:
                if not known.valid:
                    pool = urllib3.PoolManager(timeout=_SECONDS, retries=2)
                    known.refresh(google.auth.transport.urllib3.Request(pool))
            except google.auth.exceptions.GoogleAuthError as error:
                raise RunnerError(
                    f"cannot {what}: no access token: {error}",
                    hint="give the agent credentials (workload identity, GOOGLE_APPLICATION_CREDENTIALS)",
                    retryable=True,
                ) from error
            return str(known.token)


def _verb(method: str, url: str) -> str:
    """What a request is called where requests are counted: its place tells jobs from lists of them."""
    path = urlsplit(url).path
    if path.endswith("entries:list"):
        return "logs"
    if path.endswith(":cancel"):
        return "cancel"
    if path.endswith(":testIamPermissions"):
        return "rights"
    is_list = path.endswith("/customJobs")
    return {"GET": "list" if is_list else "get", "POST": "create", "DELETE": "delete"}[method]
