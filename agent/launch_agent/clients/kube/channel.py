"""Sends requests to one API server: within its rate, again where that is safe, and refusals as errors.

What is safe: a request that only asks, or that leaves the same behind when it is done twice, is tried again
after 429, a fault of the server, or a broken connection. One that is not, after 429 or when no connection
came about: the server has not seen it then. Everything else is the caller's to judge (`KubeError.acted`).

Pitfall: an answer may be a Secret. Bodies never reach an error but for the sentence of a `Status`.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

from launch_agent.clients.http import HttpClient, HttpSettings, NoAnswer, Response, Stream
from launch_agent.clients.kube.access import Access
from launch_agent.clients.kube.errors import Invalid, KubeError, Unauthorized, Unavailable, of_answer
from launch_agent.clients.kube.tally import Tally
from launch_agent.clients.kube.throttle import Throttle, TooBusy
from launch_agent.errors import ConfigError

T = TypeVar("T")

_THROTTLED = "Throttled"
_ATTEMPTS = 6
# Seconds: the first pause, the longest, and the longest that a server's wish holds back everybody else.
_BASE, _CAP, _LONGEST_HOLD = 0.2, 5.0, 10.0
# As many threads may create, read logs and sweep at once; one connection more is made and thrown away.
_CONNECTIONS = 64
_LARGEST_REFUSAL = 1024 * 1024
# Shorter words are found in any sentence.
_SHORTEST_HIDDEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. `action` says for messages what it does; `repeatable` that doing it twice is doing it
    once; `hidden` are texts that no message may hold."""

    method: str
    path: str
    action: str
    query: Mapping[str, str] | None = None
    body: Any = None
    content: str = "application/json"
    accept: str = "application/json"
    repeatable: bool = True
    hidden: Collection[str] = ()

    @property
    def verb(self) -> str:
        """The first word of what it does: one of those that are written in this package."""
        return self.action.partition(" ")[0]

    @property
    def target(self) -> str:
        given = {name: value for name, value in (self.query or {}).items() if value}
        return f"{self.path}?{urlencode(given)}" if given else self.path


class Channel:
    """Connections to one API server; safe to use from several threads.

    `timeout` is seconds, for connecting and for each wait for bytes; `patience` those in which a request may
    be tried again or wait for its turn. `close` ends what is in flight, in whatever thread.
    """

    def __init__(
        self,
        access: Access,
        throttle: Throttle,
        *,
        timeout: float,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        tally: Tally | None = None,
    ) -> None:
        self.tally = tally or Tally()
        self.access = access
        self.throttle = throttle
        self.timeout = timeout
        self.patience = patience
        self._clock = clock
        self._jitter = jitter
        self._closed = threading.Event()
        self._http = HttpClient(
            HttpSettings(
                connect_timeout=timeout,
                read_timeout=timeout,
                environment=access.environment,
                tls=access.tls,
                server_name=access.server_name,
                connections=_CONNECTIONS,
            )
        )

    def twin(self) -> Channel:
        """Another channel with connections of its own, in the same rate."""
        return Channel(
            self.access,
            self.throttle,
            timeout=self.timeout,
            patience=self.patience,
            clock=self._clock,
            jitter=self._jitter,
            tally=self.tally,
        )

    def json(self, call: Call) -> Any:
        """The answer's JSON. Raises KubeError."""
        answer = self.send(call)
        try:
            return answer.json()
        except ValueError as error:
            raise self.no_kubernetes(call, answer.headers.get("content-type", "")) from error

    def send(self, call: Call) -> Response:
        """The answer, whose status is below 300. Raises KubeError."""
        return self.persist(call, lambda: self._once(call))

    def persist(self, call: Call, once: Callable[[], T]) -> T:
        """Do something by requests of the kind of `call`, again where that is safe. Raises KubeError."""
        start, attempt = self._clock(), 0
        while True:
            attempt += 1
            try:
                return once()
            except Unavailable as error:
                if (error.acted and not call.repeatable) or error.reason == _THROTTLED:
                    raise
                pause = self._pause(error, attempt)
                if attempt >= _ATTEMPTS or self._clock() + pause > start + self.patience:
                    raise
                if self._closed.wait(pause):
                    raise

    @contextmanager
    def stream(self, call: Call, *, silence: float) -> Iterator[Stream]:
        """The answer as it comes, `silence` seconds at most between its pieces. Tried once.

        Raises KubeError, also where pieces are missing at the end.
        """
        known = True
        with self._stream(call, silence, fresh=False) as stream:
            known = stream.status != HTTPStatus.UNAUTHORIZED
            if known:
                yield self._checked(call, stream)
        if not known:
            with self._stream(call, silence, fresh=True) as stream:
                yield self._checked(call, stream)

    @contextmanager
    def _stream(self, call: Call, silence: float, *, fresh: bool) -> Iterator[Stream]:
        self._turn(call)
        began, answered = self._clock(), False
        try:
            with self._http.stream(
                call.method,
                self.access.url + call.target,
                headers=self._headers(call, fresh=fresh),
                hold=silence - self.timeout,
            ) as stream:
                self.tally.asked(call.verb, str(stream.status), self._clock() - began)
                answered = True
                yield stream
        except NoAnswer as error:
            if not answered:
                self.tally.asked(call.verb, "none", self._clock() - began)
            self._http.release()
            raise self._unanswered(call, error) from error
        except ConfigError as error:
            raise self._no_access(call, error) from error

    def no_kubernetes(self, call: Call, content: str = "") -> Unavailable:
        """The error that an answer is which no API server gives; `content` is its type."""
        sent = f" (it sends {content})" if content else ""
        return Unavailable(
            f"what answers at {self.access.url} is no Kubernetes API{sent}",
            action=call.action,
            acted=True,
            retryable=True,
            hint="is there a proxy, or a login page, in between?",
        )

    def close(self) -> None:
        self._closed.set()
        self._http.close()

    def _once(self, call: Call) -> Response:
        """One try; a second one with fresh credentials where the first were not taken."""
        try:
            return self._try(call, fresh=False)
        except Unauthorized:
            return self._try(call, fresh=True)

    def _checked(self, call: Call, stream: Stream) -> Stream:
        if stream.status < HTTPStatus.MULTIPLE_CHOICES:
            return stream
        raise self._refused(call, stream.whole(_LARGEST_REFUSAL))

    def _try(self, call: Call, *, fresh: bool) -> Response:
        body = _written(call)
        self._turn(call)
        began, code = self._clock(), "none"
        try:
            answer = self._http.request(
                call.method,
                self.access.url + call.target,
                headers=self._headers(call, fresh=fresh),
                body=body,
            )
            code = str(answer.status)
        except NoAnswer as error:
            # The next try is to read the authority anew: it may have been replaced.
            self._http.release()
            raise self._unanswered(call, error) from error
        except ConfigError as error:
            raise self._no_access(call, error) from error
        finally:
            self.tally.asked(call.verb, code, self._clock() - began)
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        raise self._refused(call, answer)

    def _headers(self, call: Call, *, fresh: bool) -> Mapping[str, str]:
        headers = {"Accept": call.accept, **self.access.credentials(fresh)}
        return headers if call.body is None else {**headers, "Content-Type": call.content}

    def _turn(self, call: Call) -> None:
        began = self._clock()
        try:
            if self.throttle.take(self.patience, self._closed):
                self.tally.waited(self._clock() - began)
                return
        except TooBusy as error:
            raise Unavailable(
                f"too many requests are waiting for their turn (it would have come in {error.wait:.0f} s)",
                reason=_THROTTLED,
                action=call.action,
                hint="runner.kubernetes.qps says how often the API server may be asked",
                retryable=True,
            ) from error
        raise Unavailable("the client is closed", action=call.action, retryable=True)

    def _pause(self, error: Unavailable, attempt: int) -> float:
        backoff = self._jitter() * min(_CAP, _BASE * 2.0**attempt)
        asked = error.details.retry_after
        if asked:
            # It is the server that is busy, not this request that is wrong: all wait.
            self.throttle.hold(min(asked, _LONGEST_HOLD))
        return asked + backoff

    def _refused(self, call: Call, answer: Response) -> KubeError:
        error = of_answer(
            answer.status,
            answer.body,
            action=call.action,
            content=answer.headers.get("content-type", ""),
            hidden=call.hidden,
        )
        return error.asked_to_wait(answer.retry_after(time.time()))

    def _unanswered(self, call: Call, error: NoAnswer) -> Unavailable:
        return Unavailable(error.reason, action=call.action, acted=error.sent, retryable=True)

    def _no_access(self, call: Call, error: ConfigError) -> KubeError:
        # A token's file that is being replaced, a plugin that fails: another time it may work.
        return Unavailable(error.message, action=call.action, hint=error.hint, retryable=True)


def _written(call: Call) -> bytes | None:
    if call.body is None:
        return None
    try:
        return json.dumps(call.body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        # Such as the dates that YAML has.
        raise Invalid(f"it cannot be written as JSON: {error}", action=call.action) from error


def secret_texts(manifest: Any) -> Collection[str]:
    """The values of a Secret that is sent: a refusal may quote them."""
    if not isinstance(manifest, Mapping) or manifest.get("kind") != "Secret":
        return ()
    parts = [manifest.get(part) for part in ("data", "stringData")]
    values = [value for part in parts if isinstance(part, Mapping) for value in part.values()]
    return tuple(value for value in values if isinstance(value, str) and len(value) >= _SHORTEST_HIDDEN)
