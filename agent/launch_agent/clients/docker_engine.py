"""Reaches a Docker engine: which one, with a timeout on every call, and errors that a user understands.

The low-level client is used on purpose: one request per call, no second look at what the engine has just
said. The engine is, in this order: the one named by the config, `DOCKER_HOST`, the chosen Docker context, the
system's socket, the rootless socket, Docker Desktop's socket.

Pitfall: the SDK switches the read timeout off for pulls; `Engine.request` puts one back.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import urllib3
from docker.api.client import APIClient
from docker.context import ContextAPI
from docker.context.config import get_current_context_name
from docker.errors import APIError, DockerException, NotFound, create_api_error_from_http_exception
from docker.utils import kwargs_from_env
from requests import HTTPError, RequestException, Response, Timeout

from launch_agent.errors import RunnerError

# Seconds without a byte from the engine. Creating a container on a busy disk takes several.
CALL_TIMEOUT = 60.0
# A pull is silent while a layer of many gigabytes is unpacked on a slow disk.
PULL_SILENCE = 300.0
_KNOCK_TIMEOUT = 5.0
# Seconds; the SDK takes no timeout for its own.
_FOREVER = 86_400.0
# As many calls as launches and status queries make at once; more would open a connection each.
_CONNECTIONS = 32

__all__ = ["APIError", "Engine", "NotFound", "connect", "explain", "speaking"]


class Engine(APIClient):
    """The SDK's client, with a timeout on each request, and a name for messages."""

    def __init__(self, *, address: str, silence: float, **arguments: Any) -> None:
        self.address = address
        self._silence = silence
        super().__init__(timeout=int(silence), max_pool_size=_CONNECTIONS, **arguments)

    def request(self, *args: Any, **kwargs: Any) -> Response:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._silence
        response: Response = super().request(*args, **kwargs)
        return response

    def build_events(
        self, archive: Iterable[bytes], params: Mapping[str, str], auth: Mapping[str, Any]
    ) -> EventStream:
        """Build from a tar archive; the engine's events.

        The SDK's own `build` cannot be ended from another thread, and wants the archive as a file. `auth`
        maps registries to credentials, for the images that the Dockerfile begins with. `params` are the
        query of the engine's `POST /build`.
        """
        headers = {"Content-Type": "application/x-tar"}
        if auth:
            headers["X-Registry-Config"] = base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
        # A build is silent while a step runs; who calls this has a clock of its own.
        response = self.post(
            f"{self.base_url}/v{self.api_version}/build",
            data=archive,
            params=dict(params),
            headers=headers,
            stream=True,
            timeout=_FOREVER,
        )
        if response.status_code >= 400:
            create_api_error_from_http_exception(_http_error(response))
        return EventStream(response)

    def push_events(self, repository: str, tag: str, auth: Mapping[str, str]) -> EventStream:
        """Push an image; the engine's events. `auth` opens the registry, empty where anybody may push.

        As for `build_events`: a registry that puts a large layer together says nothing for minutes.
        """
        header = base64.urlsafe_b64encode(json.dumps(dict(auth)).encode()).decode()
        response = self.post(
            f"{self.base_url}/v{self.api_version}/images/{repository}/push",
            params={"tag": tag},
            headers={"X-Registry-Auth": header},
            stream=True,
            timeout=_FOREVER,
        )
        if response.status_code >= 400:
            create_api_error_from_http_exception(_http_error(response))
        return EventStream(response)


def _http_error(response: Response) -> HTTPError:
    try:
        response.raise_for_status()
    except HTTPError as error:
        return error
    raise AssertionError("only called for an error")


class EventStream:
    """The events of a request under way. Leaving it early makes the engine give the request up."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for line in self._response.iter_lines(chunk_size=None):
            if line:
                yield json.loads(line)

    def close(self) -> None:
        """End the request, under a thread that reads it too: that one meets a broken connection."""
        raw: Any = self._response.raw
        with suppress(OSError, AttributeError):
            # A read in another thread ends by a shutdown only; urllib3 keeps the connection until the end.
            raw.connection.sock.shutdown(socket.SHUT_RDWR)
        self._response.close()


def connect(host: str = "", *, silence: float = CALL_TIMEOUT) -> Engine:
    """The engine at `host` (as in DOCKER_HOST), or the one that the environment names.

    Asks the engine for its version, so it raises RunnerError (retryable) where no engine answers. `silence`
    is the longest time, in seconds, that the engine may leave a request without a byte.
    """
    arguments = _address(host)
    address = str(arguments.get("base_url"))
    if address.startswith("ssh://"):
        # The user's own ssh knows its keys and known hosts; the SDK's other way needs one more package.
        arguments["use_ssh_client"] = True
    with speaking(f"reach the Docker engine at {address}", address):
        _knock(address)
        return Engine(address=address, silence=silence, version="auto", **arguments)


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at a socket: the SDK would leave its own end of it open."""
    for scheme in ("unix://", "http+unix://"):
        if address.startswith(scheme):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(_KNOCK_TIMEOUT)
                probe.connect(f"/{address.removeprefix(scheme).lstrip('/')}")


def _address(host: str) -> dict[str, Any]:
    """`base_url` and `tls` for the SDK."""
    try:
        environment = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
        if environment.get("DOCKER_HOST"):
            return dict(kwargs_from_env(environment=environment))
        name = environment.get("DOCKER_CONTEXT") or get_current_context_name()
        if name != "default":
            return _of_context(name)
    except (DockerException, OSError, ValueError) as error:
        raise RunnerError(
            f"cannot tell which Docker engine is meant: {error}",
            hint="look at DOCKER_HOST, DOCKER_CONTEXT and `docker context ls`",
        ) from error
    return {"base_url": f"unix://{_socket(environment)}"}


def _of_context(name: str) -> dict[str, Any]:
    found = dict(ContextAPI.kwargs_from_context(name))
    if not found:
        raise ValueError(f"there is no Docker context {name!r}")
    return found


def _socket(environment: Mapping[str, str]) -> Path:
    """The first socket that is there; the system's where none is, so that the message names it."""
    system = Path("/var/run/docker.sock")
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    home = environment.get("HOME", "/")
    for path in (system, Path(runtime, "docker.sock"), Path(home, ".docker/run/docker.sock")):
        try:
            if stat.S_ISSOCK(path.stat().st_mode):
                return path
        except OSError:
            continue
    return system


@contextmanager
def speaking(doing: str, address: str = "") -> Iterator[None]:
    """Turn whatever the SDK raises into a RunnerError that says what was being done."""
    try:
        yield
    except APIError as error:
        broken = error.response is not None and error.response.status_code >= 500
        raise RunnerError(f"cannot {doing}: {explain(error)}", retryable=broken) from error
    except Timeout as error:
        raise RunnerError(f"cannot {doing}: no answer in time", retryable=True) from error
    except (DockerException, RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        # urllib3's own comes where the SDK reads a stream (a log, a pull) past requests.
        raise RunnerError(
            f"cannot {doing}: {_root(error)}", hint=_cure(error, address), retryable=True
        ) from error


def explain(error: APIError) -> str:
    """What the engine said, without the SDK's URL and status line around it."""
    return str(error.explanation or error).strip()


def _root(error: BaseException) -> str:
    """The innermost cause: `No such file or directory` rather than five layers of connection errors."""
    seen = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    if isinstance(seen, TimeoutError):
        return "no answer in time"
    return (seen.strerror if isinstance(seen, OSError) and seen.strerror else str(seen)) or type(
        seen
    ).__name__


def _cure(error: BaseException, address: str) -> str:
    text = repr(error)
    if "Permission denied" in text or "PermissionError" in text:
        return (
            f"the agent's user may not open {address}; add it to the socket's group, or use rootless Docker"
        )
    if "FileNotFoundError" in text or "Connection refused" in text or "ConnectionRefused" in text:
        return "is the engine running? Set DOCKER_HOST or `runner.local-container.host` to its address"
    return ""
