"""JSON over HTTP: timeouts on every request, retries with jitter, and a close that ends what is in flight.

Two things differ from plain urllib3. Retries belong to the caller's purpose (`Retry`), because a request
that takes something off a queue must not be sent twice while one that only asks may be. And `close()` shuts
the sockets down under requests that wait in other threads, since a long poll must not delay an agent's
shutdown by its whole holding time; urllib3's own `clear()` leaves connections that are in use alone.

A status is an answer and comes back as `Response`; only the lack of an answer raises (`NoAnswer`).
"""

from __future__ import annotations

import email.utils
import json
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from launch_agent import __version__
from launch_agent.clients import proxies
from launch_agent.clients.sockets import Sockets
from launch_agent.errors import ConfigError

# Statuses that may be different next time. 501 is left out: what is not implemented stays so.
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
# More than any answer of a queue backend; a larger one is a mistake that must not fill the memory.
_LARGEST_BODY = 64 * 1024 * 1024
# A server that asks for more patience than this is asked again sooner.
_LONGEST_RETRY_AFTER = 300.0


class NoAnswer(Exception):
    """A request that got no usable answer. `sent` says that the server may have acted on it."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How the world is reached. Times are seconds; `environment` holds the proxy and CA variables.

    So many `connections` to a host are kept. `tls` makes the context of encrypted ones in place of the usual
    one; `server_name` is the name that the server's certificate must hold, where it is not the host's.
    """

    user_agent: str = f"launch-agent/{__version__}"
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Callable[[], ssl.SSLContext] | None = None
    server_name: str = ""
    connections: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often, and for how long, a request is tried.

    `budget` is the number of seconds in which another attempt may begin; the pause before attempt n is
    random between 0 and min(cap, base * 2**n) ("full jitter"), or what Retry-After asks. With
    `unsent_only` an attempt is repeated only where the server cannot have seen the one before.
    """

    attempts: int = 1
    budget: float = 0.0
    base: float = 0.25
    cap: float = 5.0
    unsent_only: bool = False


ONCE = Retry()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer. Header names are lower case. `attempts` counts the requests that it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    attempts: int = 1

    def json(self) -> Any:
        """Raises ValueError where the body is not JSON."""
        try:
            return json.loads(self.body)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error

    def excerpt(self, longest: int = 200) -> str:
        """The beginning of the body in one line, for an error message."""
        text = " ".join(self.body[: longest * 4].decode("utf-8", "replace").split())
        return text if len(text) <= longest else f"{text[:longest]}…"

    def retry_after(self, now: float) -> float:
        """Seconds that the server asks us to wait, 0 where it does not; `now` is seconds since the epoch."""
        return parse_retry_after(self.headers.get("retry-after", ""), now)


def parse_retry_after(value: str, now: float) -> float:
    """Retry-After as seconds (RFC 9110, 10.2.3: a number or a date), between 0 and five minutes."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) if seconds == seconds else 0.0


class Stream:
    """An answer whose body is still on the wire. Header names are lower case."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, place: str) -> None:
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.headers.items()}
        self._answer = answer
        self._place = place

    def chunks(self, size: int = 1024 * 1024) -> Iterator[bytes]:
        """The body as it comes, at most `size` bytes at a time. Raises NoAnswer where it ends early; the
        read timeout counts anew with each piece."""
        try:
            while piece := self._answer.read1(size, decode_content=False):
                yield piece
        except (HTTPError, OSError) as error:
            raise _no_answer(error, self._place, self._place) from error
        if self._answer.length_remaining:
            raise NoAnswer(f"the answer ended {self._answer.length_remaining} bytes early", sent=True)

    def whole(self, longest: int) -> Response:
        """The answer with its body, which is cut after `longest` bytes."""
        body = b""
        for piece in self.chunks(64 * 1024):
            body += piece
            if len(body) > longest:
                break
        return Response(status=self.status, headers=self.headers, body=body[:longest])


class HttpClient:
    """Sends requests; safe to use from several threads. `clock` is monotonic, `wall` is since the epoch."""

    def __init__(
        self,
        settings: HttpSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._jitter = jitter
        self._sockets = Sockets()
        self._managers: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        retry: Retry = ONCE,
        hold: float = 0.0,
        usable: Callable[[Response], bool] = lambda _: True,
    ) -> Response:
        """Send one request, again as `retry` allows. `hold` is how many seconds longer the server may take.

        An answer that is not `usable` is treated like a transient status: an answer cut in its headers, or
        the page of something in between, looks like a success. Raises NoAnswer after the last attempt; the
        last attempt's answer is returned whatever it is.
        """
        start = self._clock()
        attempt = 0
        while True:
            attempt += 1
            answer = self._attempt(method, url, headers or {}, body, hold)
            if isinstance(answer, Response) and answer.status not in TRANSIENT and usable(answer):
                break
            if self._closed.is_set():
                raise NoAnswer("the client is closed", sent=True)
            may_have_acted = isinstance(answer, Response) or answer.sent
            pause = self._pause(retry, attempt, answer)
            late = self._clock() + pause > start + retry.budget
            if attempt >= retry.attempts or late or (retry.unsent_only and may_have_acted):
                break
            self._sleep(pause)
        if isinstance(answer, NoAnswer):
            raise answer
        return Response(status=answer.status, headers=answer.headers, body=answer.body, attempts=attempt)

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        hold: float = 0.0,
    ) -> Iterator[Stream]:
        """Send one request, once, and read its answer piece by piece; neither body is held in memory.

        A body that is no `bytes` needs a Content-Length header, or is sent in chunks. Raises NoAnswer.
        """
        if self._closed.is_set():
            raise NoAnswer("the client is closed", sent=False)
        settings = self._settings
        try:
            answer = self._manager(url).request(
                method,
                url,
                headers={"User-Agent": settings.user_agent, **(headers or {})},
                body=body,
                timeout=urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout + hold),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (LocationValueError, ValueError) as error:
            raise NoAnswer(f"{url!r} is not an address: {error}", sent=False) from error
        except (HTTPError, OSError) as error:
            proxy = proxies.proxy_for(url, settings.environment)
            raise _no_answer(error, _place(url), _place(proxy)) from error
        try:
            yield Stream(answer, _place(url))
        finally:
            # What was read to its end goes back to the pool; anything else is in an unknown state.
            if answer.length_remaining == 0 and not answer.closed:
                answer.drain_conn()
                answer.release_conn()
            else:
                answer.close()

    def close(self) -> None:
        """Final: requests in flight, in whatever thread, end at once with NoAnswer, and so do later ones."""
        self._closed.set()
        self._sockets.shut_down()
        self.release()

    def release(self) -> None:
        """Close idle connections; later requests open new ones."""
        with self._lock:
            managers = list(self._managers.values())
            self._managers.clear()
        for manager in managers:
            manager.clear()

    def _pause(self, retry: Retry, attempt: int, answer: Response | NoAnswer) -> float:
        asked = answer.retry_after(self._wall()) if isinstance(answer, Response) else 0.0
        return asked or self._jitter() * min(retry.cap, retry.base * 2 ** (attempt - 1))

    def _attempt(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, hold: float
    ) -> Response | NoAnswer:
        if self._closed.is_set():
            return NoAnswer("the client is closed", sent=False)
        settings = self._settings
        deadline = self._clock() + settings.connect_timeout + settings.read_timeout + hold
        try:
            answer = self._manager(url).request(
                method,
                url,
                headers={"User-Agent": settings.user_agent, "Accept-Encoding": "gzip", **headers},
                body=body,
                timeout=urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout + hold),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            return self._read(answer, deadline)
        except (LocationValueError, ValueError) as error:
            return NoAnswer(f"{url!r} is not an address: {error}", sent=False)
        except (HTTPError, OSError) as error:
            proxy = proxies.proxy_for(url, settings.environment)
            return _no_answer(error, _place(url), _place(proxy))

    def _read(self, answer: urllib3.BaseHTTPResponse, deadline: float) -> Response | NoAnswer:
        """Read the body piecewise: the read timeout starts anew with each byte, the deadline does not."""
        pieces: list[bytes] = []
        size = 0
        try:
            while piece := answer.read1(65536, decode_content=True):
                pieces.append(piece)
                size += len(piece)
                if size > _LARGEST_BODY:
                    return NoAnswer(f"the answer is larger than {_LARGEST_BODY} bytes", sent=True)
                if self._clock() > deadline:
                    return NoAnswer("the answer came too slowly", sent=True)
            missing = answer.length_remaining
            if missing:
                return NoAnswer(f"the answer ended {missing} bytes early", sent=True)
            answer.release_conn()
        finally:
            # A connection that was not given back is in an unknown state and must not be used again.
            if answer.connection is not None:
                answer.close()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(status=answer.status, headers=headers, body=b"".join(pieces))

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy = proxies.proxy_for(url, self._settings.environment)
        encrypted = "https:" in (url[:6].lower(), proxy[:6].lower())
        with self._lock:
            key = (proxy, encrypted)
            if key not in self._managers:
                self._managers[key] = self._new_manager(proxy, encrypted=encrypted)
            return self._managers[key]

    def _new_manager(self, proxy: str, *, encrypted: bool) -> urllib3.PoolManager:
        options: dict[str, Any] = {"num_pools": 8, "maxsize": self._settings.connections}
        if encrypted:  # loading certificates costs time and memory that plain HTTP need not pay
            options["ssl_context"] = self._tls()
            options["server_hostname"] = self._settings.server_name or None
        manager: urllib3.PoolManager
        if proxy:
            user = urlsplit(proxy)
            auth = f"{user.username}:{user.password or ''}" if user.username else None
            options["proxy_headers"] = urllib3.make_headers(proxy_basic_auth=auth)
            manager = urllib3.ProxyManager(proxy, **options)
        else:
            manager = urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = self._sockets.pool_classes
        return manager

    def _tls(self) -> ssl.SSLContext:
        if self._settings.tls is not None:
            return self._settings.tls()
        bundle = proxies.ca_file(self._settings.environment)
        try:
            return ssl.create_default_context(cafile=bundle or None)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"cannot read the CA bundle {bundle}: {error.strerror or error}",
                hint="SSL_CERT_FILE and REQUESTS_CA_BUNDLE must name a PEM file with certificates",
            ) from error


def _place(url: str) -> str:
    """Host and port of a URL, without a user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _no_answer(error: Exception, host: str, proxy: str) -> NoAnswer:
    """An error of urllib3 as one sentence, without object addresses."""
    if isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    if isinstance(error, ProxyError):
        inner = _no_answer(error.original_error, proxy, proxy)
        return NoAnswer(f"the proxy failed: {inner.reason}", sent=inner.sent)
    if isinstance(error, NameResolutionError):
        return NoAnswer(f"the name of {host} cannot be resolved", sent=False)
    if isinstance(error, NewConnectionError):
        return NoAnswer(f"{host}: {_cause(error) or 'cannot connect'}", sent=False)
    if isinstance(error, ConnectTimeoutError):
        return NoAnswer(f"{host} did not take the connection in time", sent=False)
    if isinstance(error, ReadTimeoutError):
        return NoAnswer(f"{host} did not answer in time", sent=True)
    if isinstance(error, (urllib3.exceptions.SSLError, ssl.SSLError)):
        return NoAnswer(f"no trusted connection to {host}: {error}", sent=False)
    return NoAnswer(f"the connection to {host} broke: {_cause(error) or error}", sent=True)


def _cause(error: Exception) -> str:
    """What the operating system said, wherever urllib3 keeps it."""
    inside = (*error.args, error.__cause__, error.__context__)
    found = (each for each in inside if isinstance(each, (OSError, HTTPException)))
    return next((getattr(each, "strerror", None) or str(each) for each in found), "")
