"""GraphQL over HTTP as the queue's backends speak it: one document, or many root fields under aliases.

The backend's schema is not public, so two rules apply throughout. A field that the server does not know
("Cannot query field …") means that the server is older, which is the caller's business and not an outage.
And nobody has said how complex a document may be: `batch` begins with many roots, halves on complaints that
name complexity, length or aliases, and ends at plain single operations, which every server takes.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch_agent.clients.http import ONCE, HttpClient, NoAnswer, Response, Retry
from launch_agent.errors import QueueDenied, QueueUnavailable
from launch_agent.queues.faults import KEY_HINT, Fault, error_of, fault_of, words
from launch_agent.spec.secret import Secret

log = logging.getLogger(__name__)

# Not stated by any server. 25 roots halve a burst's round trips many times over and stay a small document.
ROOTS_PER_DOCUMENT = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a document: `data` by alias (absent and null are the same), and what went wrong."""

    data: Mapping[str, Any] = field(default_factory=dict)
    faults: Sequence[Fault] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 1

    def of(self, alias: str) -> Any:
        return self.data.get(alias)

    def fault_of(self, alias: str) -> str:
        """The first complaint about `alias`, or about the whole document; empty where there is none."""
        return next((fault.message for fault in self.faults if fault.alias in (alias, "")), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One root field. `call` has a `$name` for each argument (`run(name: $name) { stopped }`) and `args`
    maps that name to its GraphQL type and value; batching renames them so that they do not meet."""

    call: str
    args: Mapping[str, tuple[str, Any]]

    def renamed(self, suffix: str) -> tuple[str, dict[str, tuple[str, Any]]]:
        call = re.sub(r"\$(\w+)", lambda found: f"${found[1]}{suffix}", self.call)
        return call, {f"{name}{suffix}": value for name, value in self.args.items()}

    @property
    def field_name(self) -> str:
        return self.call.partition("(")[0].strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class RootAnswer:
    """What came of one root: its value, or why there is none. `headers` are those of its document."""

    value: Any = None
    fault: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class GraphQL:
    """One backend and one key. Safe to use from several threads."""

    def __init__(
        self, base_url: str, api_key: Secret, http: HttpClient, *, wall: Callable[[], float] = time.time
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._http = http
        self._wall = wall
        self._roots = ROOTS_PER_DOCUMENT

    def authorization(self) -> dict[str, str]:
        """The header that shows the key; for requests to the backend's own host only."""
        token = base64.b64encode(b"api:" + self._api_key.reveal().encode()).decode()
        return {"Authorization": f"Basic {token}"}

    def execute(
        self,
        operation: str,
        document: str,
        variables: Mapping[str, Any],
        *,
        retry: Retry = ONCE,
        headers: Mapping[str, str] | None = None,
        hold: float = 0.0,
        http: HttpClient | None = None,
    ) -> Answer:
        """Send one document. Errors that the backend names in its answer come back in `Answer.faults`.

        Raises QueueUnavailable where no answer in the protocol came, QueueDenied where the key is refused.
        """
        body = json.dumps({"query": document, "variables": dict(variables), "operationName": operation})
        url = f"{self.base_url}/graphql"
        try:
            response = (http or self._http).request(
                "POST",
                url,
                headers={"Content-Type": "application/json", **self.authorization(), **(headers or {})},
                body=body.encode(),
                retry=retry,
                hold=hold,
                usable=_is_answer,
            )
        except NoAnswer as error:
            raise QueueUnavailable(
                f"{words(operation)}: no answer from {url}: {error.reason}",
                hint="is the base URL right, and does the network (proxy, CA bundle) let us out?",
            ) from error
        return self._understood(operation, url, response)

    def one(self, operation: str, document: str, variables: Mapping[str, Any], **options: Any) -> Any:
        """The data of a document, where every complaint but an unknown field is an error.

        Raises QueueError with the backend's own words."""
        answer = self.execute(operation, document, variables, **options)
        if answer.faults:
            unknown = next((fault for fault in answer.faults if fault.older_server), answer.faults[0])
            raise error_of(operation, unknown.message)
        return answer.data

    def batch(
        self,
        kind: str,
        operation: str,
        roots: Sequence[Root],
        *,
        retry: Retry = ONCE,
        headers: Mapping[str, str] | None = None,
        hold: float = 0.0,
        http: HttpClient | None = None,
    ) -> Iterator[RootAnswer]:
        """Run many roots, in order, in as few documents as the server lets us; yields one answer a root.

        A generator, so that the caller keeps what came before a document that raises QueueUnavailable.
        """
        position = 0
        size = self._roots
        while position < len(roots):
            chunk = roots[position : position + size]
            document, variables, aliases = _document(kind, operation, chunk)
            answer = self.execute(
                operation, document, variables, retry=retry, headers=headers, hold=hold, http=http
            )
            smaller = _smaller(answer, aliases)
            if smaller:
                log.info("the backend refuses %d operations in one request; trying %d", len(chunk), smaller)
                size = smaller
                continue
            self._roots = min(self._roots, size)
            position += len(chunk)
            for alias in aliases:
                fault = "" if answer.of(alias) is not None else answer.fault_of(alias)
                yield RootAnswer(value=answer.of(alias), fault=fault, headers=answer.headers)

    def _understood(self, operation: str, url: str, response: Response) -> Answer:
        payload = _payload(response)
        if response.status == 401 or (response.status == 403 and not _has_faults(payload)):
            raise QueueDenied(
                f"{words(operation)}: {url} does not accept the API key (HTTP {response.status})",
                hint=KEY_HINT,
            )
        if payload is None or response.status == 429 or response.status >= 500:
            what = response.excerpt() or "nothing"
            raise QueueUnavailable(
                f"{words(operation)}: {url} answered HTTP {response.status}: {what}",
                hint=_status_hint(response),
                retry_after=response.retry_after(self._wall()),
            )
        faults = tuple(fault_of(entry) for entry in payload.get("errors") or ())
        if response.status == 403:
            raise QueueDenied(f"{words(operation)}: {faults[0].message}", hint=KEY_HINT)
        data = payload.get("data")
        if not isinstance(data, Mapping):
            data = {}
        return Answer(data=data, faults=faults, headers=response.headers, attempts=response.attempts)


def _smaller(answer: Answer, aliases: Sequence[str]) -> int:
    """How many roots to send instead, where the server turned the document down for its size before it did
    any of it; 0 where it did not."""
    if len(aliases) == 1 or any(alias in answer.data for alias in aliases):
        return 0
    if any(fault.too_much for fault in answer.faults):
        return len(aliases) // 2
    # Neither our aliases nor a complaint: it does not know aliases.
    return 0 if answer.faults else 1


def _document(kind: str, operation: str, roots: Sequence[Root]) -> tuple[str, dict[str, Any], list[str]]:
    """The document, its variables and the key of each root in the answer. A single root has no alias."""
    if len(roots) == 1:
        parts = [(roots[0].field_name, roots[0].call, dict(roots[0].args))]
    else:
        parts = [(f"r{n}", f"r{n}: {call}", args) for n, (call, args) in _renamed(roots)]
    types = {name: declared for _, _, args in parts for name, (declared, _) in args.items()}
    variables = {name: value for _, _, args in parts for name, (_, value) in args.items()}
    signature = ", ".join(f"${name}: {declared}" for name, declared in types.items())
    body = " ".join(call for _, call, _ in parts)
    head = f"{kind} {operation}({signature})" if signature else f"{kind} {operation}"
    return f"{head} {{ {body} }}", variables, [alias for alias, _, _ in parts]


def _renamed(roots: Sequence[Root]) -> Iterator[tuple[int, tuple[str, dict[str, tuple[str, Any]]]]]:
    return enumerate(root.renamed(f"_{n}") for n, root in enumerate(roots))


def _payload(response: Response) -> Mapping[str, Any] | None:
    """The body as a GraphQL answer; None where it is something else (HTML, a list, cut JSON)."""
    try:
        payload = response.json()
    except ValueError:
        return None
    if not isinstance(payload, Mapping) or not ("data" in payload or _has_faults(payload)):
        return None
    return payload


def _is_answer(response: Response) -> bool:
    return response.status in (401, 403) or _payload(response) is not None


def _has_faults(payload: Mapping[str, Any] | None) -> bool:
    faults = payload.get("errors") if payload else None
    return isinstance(faults, list) and len(faults) > 0


def _status_hint(response: Response) -> str:
    if response.status == 429:
        return "the backend limits the rate of requests; poll less often, or use fewer agents for one key"
    if "location" in response.headers and 300 <= response.status < 400:
        return f"it redirects to {response.headers['location']}: is that the base URL to set?"
    if response.status < 500:
        return "is this the API's address? It did not answer GraphQL"
    return ""
