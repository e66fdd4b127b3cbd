"""What every HTTP handler does first: find out who asks, and read no more of the body than is allowed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from launch_agent.server.auth import key_in
from launch_agent.server.state import State
from launch_agent.server.store.rows import Viewer


class Problem(Exception):
    """A request that is answered with an error; `status` is HTTP's, `message` for the one who asks."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self) -> JSONResponse:
        """The error in the form of a GraphQL answer, which official clients show."""
        # Not Basic, although that is accepted: browsers would ask for a password and then send it along with
        # whatever other pages make them send here.
        headers = {"WWW-Authenticate": 'Bearer realm="launch-agent"'} if self.status == 401 else None
        return JSONResponse({"errors": [{"message": self.message}]}, self.status, headers=headers)


def state_of(request: Request) -> State:
    state = request.app.state.launch
    assert isinstance(state, State)
    return state


async def authenticate(request: Request) -> Viewer:
    """Whose request it is. Raises Problem 401."""
    state = state_of(request)
    api_key = key_in(request.headers.get("authorization"))
    if api_key is None:
        raise Problem(401, "no API key: send it as 'Authorization: Basic base64(api:KEY)' or 'Bearer KEY'")
    viewer = state.keyring.recall(api_key) or await anyio.to_thread.run_sync(state.keyring.look_up, api_key)
    if viewer is None:
        raise Problem(401, "the API key is not valid for this server")
    return viewer


def base_url(request: Request) -> str:
    """The server's address as the client sees it, without a final slash."""
    return state_of(request).public_url or str(request.base_url).rstrip("/")


async def chunks_of(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes. Raises Problem 413 where it is longer than `limit`, by its header or in fact."""
    told = request.headers.get("content-length", "")
    too_large = Problem(413, f"the request is larger than {limit} bytes")
    if told.isdecimal() and int(told) > limit:
        raise too_large
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise too_large
            yield chunk
    except ClientDisconnect as error:
        raise Problem(400, "the request ended in the middle") from error


async def body_of(request: Request, limit: int) -> bytes:
    """The whole body, unpacked where it is gzip. `limit` holds for both. Raises Problem 400 or 413."""
    data = b"".join([chunk async for chunk in chunks_of(request, limit)])
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return data
    if encoding != "gzip":
        raise Problem(415, f"the content encoding {encoding!r} is not known; send gzip or none")
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(data, limit)
    except (zlib.error, gzip.BadGzipFile) as error:
        raise Problem(400, "the body is not gzip, as its header says") from error
    if unpacker.unconsumed_tail:
        raise Problem(413, f"the request is larger than {limit} bytes when it is unpacked")
    return unpacked
