"""GraphQL over HTTP as it is on the wire, for tests that look at statuses, headers and errors.

`tests.fakes.backend` is the comfortable client: it fails the test where an answer has errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer; `body` is read from JSON where it is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def data(self) -> Any:
        return self.body["data"]

    @property
    def messages(self) -> list[str]:
        """The texts of the errors."""
        return [error["message"] for error in self.body.get("errors", ())]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One server, with one connection for each thread at a time."""

    url: str
    api_key: str
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=16), repr=False)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        with_key: bool = True,
        redirect: bool = True,
    ) -> Answer:
        """Any request; `path` may be a whole URL."""
        url = path if path.startswith("http") else self.url + path
        sent = urllib3.make_headers(basic_auth=f"api:{self.api_key}") if with_key else {}
        answer = self.pool.request(
            method,
            url,
            body=body,
            headers={**sent, **(headers or {})},
            timeout=timeout,
            retries=False,
            redirect=redirect,
        )
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return Answer(
            status=answer.status,
            headers=answer.headers,
            body=json.loads(answer.data) if is_json else answer.data,
        )

    def graphql(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        *,
        operation: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """A GraphQL request; its errors are in the answer."""
        body = json.dumps({"query": query, "variables": variables, "operationName": operation}).encode()
        return self.request(
            "POST",
            "/graphql",
            body=body,
            headers={"Content-Type": "application/json", **(headers or {})},
            timeout=timeout,
        )

    def mutate(self, field_name: str, select: str, **given: Any) -> Any:
        """One mutation with `input`; its payload. Fails the test where there are errors."""
        kind = field_name[0].upper() + field_name[1:] + "Input"
        if field_name == "updateRunQueueItemWarning":
            kind = "FailRunQueueItemInput"
        answer = self.graphql(
            f"mutation($input: {kind}!) {{ {field_name}(input: $input) {{ {select} }} }}", {"input": given}
        )
        assert answer.status == 200, answer
        assert not answer.messages, answer.messages
        return answer.data[field_name]

    def close(self) -> None:
        self.pool.clear()
