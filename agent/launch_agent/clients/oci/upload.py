"""Puts blobs into a registry: whole where it may be, in chunks where it must, and again where it broke.

An upload is a session: POST gives its address, PATCH adds bytes, PUT with the digest ends it (the OCI
distribution specification 1.1, "Pushing blobs"). A blob whose digest is known goes with the PUT alone. After
a break the session is asked how far it got, and goes on there; where it does not know (the distribution
project's server gives up a session that was cut), a new one begins.

Pitfalls: the answer to the last PUT may be what was lost, so a broken upload first asks whether the blob is
there. Each answer brings a new address for the session; the old one is dead. A proxy with a limit says 413,
and smaller pieces pass.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

from launch_agent.clients.http import ONCE, TRANSIENT, NoAnswer, Response
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.model import Descriptor
from launch_agent.errors import RegistryError, RegistryUnavailable

# A chunk is held in memory where its content cannot be read twice. ECR takes no smaller ones than 5 MiB.
CHUNK = 8 * 1024 * 1024
_PIECE = 1024 * 1024
_ATTEMPTS = 6
_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0)
# Seconds that a registry may take to move a large blob to its place before it answers.
_COMMIT_SECONDS = 300.0
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")


class Content(Protocol):
    """Bytes that can be read again from any place."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        """`size` bytes from `offset`, in pieces."""
        ...


@dataclass(frozen=True, slots=True)
class FileContent:
    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        """Raises RegistryError where the file is gone or shorter: to the network, an OSError would be one of
        its own, and worth another try."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(offset)
                while size > 0 and (piece := stream.read(min(_PIECE, size))):
                    size -= len(piece)
                    yield piece
        except OSError as error:
            raise RegistryError(f"cannot read {self.path}: {error.strerror or error}") from error
        if size:
            raise RegistryError(f"{self.path} became shorter while it was uploaded")


@dataclass(frozen=True, slots=True)
class BytesContent:
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        for begin in range(offset, offset + size, _PIECE):
            yield self.content[begin : min(begin + _PIECE, offset + size)]


class Upload:
    """One blob on its way to `uploads`, the repository's address for sessions.

    `chunk` is the most bytes of one request; 0 sends a blob whole. `progress` is told how many bytes of the
    blob have been sent, which may go back after a break.
    """

    def __init__(
        self,
        client: RegistryClient,
        uploads: str,
        scopes: Sequence[str],
        *,
        doing: str,
        is_there: Callable[[], bool] = lambda: False,
        chunk: int = 0,
        progress: Callable[[int], object] = lambda _: None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._uploads = uploads
        self._scopes = scopes
        self._doing = doing
        self._is_there = is_there
        self._chunk = chunk
        self._progress = progress
        self._sleep = sleep
        self._location = ""
        self._offset = 0

    def run(self, descriptor: Descriptor, content: Content, location: str = "") -> None:
        """Send what the descriptor describes; `location` is a session that a refused mount has begun."""
        self._location, self._offset = location, 0
        with self._given_up():
            self._run(descriptor, content)

    def _run(self, descriptor: Descriptor, content: Content) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                if not self._location:
                    self._begin()
                answer = self._send(descriptor, content)
            except NoAnswer as error:
                answer = None
                failure: RegistryError = self._client.unanswered(self._doing, error)
            if answer is not None:
                if answer.status in (201, 204):
                    return
                failure = self._failure(answer)
                if not self._may_go_on(answer):
                    raise failure
            if attempt == _ATTEMPTS - 1:
                raise failure
            self._pause(attempt, answer)
            if self._is_there():
                return
            self._resume(content.size)
        raise AssertionError("the last turn raises")

    def run_stream(self, chunks: Iterable[bytes], media_type: str) -> Descriptor:
        """Send bytes that come once, and say what they were. Memory holds one chunk."""
        with self._given_up():
            return self._run_stream(chunks, media_type)

    def _run_stream(self, chunks: Iterable[bytes], media_type: str) -> Descriptor:
        digest, sent = hashlib.sha256(), 0
        self._begin()
        for chunk in _even(chunks, max(self._chunk, CHUNK)):
            digest.update(chunk)
            self._send_chunk(chunk, sent)
            sent += len(chunk)
            self._progress(sent)
        descriptor = Descriptor(media_type=media_type, digest=f"sha256:{digest.hexdigest()}", size=sent)
        answer = self._client.request(
            self._doing,
            "PUT",
            self._final(descriptor),
            scopes=self._scopes,
            follow=False,
            hold=_COMMIT_SECONDS,
        )
        self._client.expect(self._doing, answer, 201, 204, pushing=True)
        return descriptor

    @contextmanager
    def _given_up(self) -> Iterator[None]:
        """Tell the registry where an upload ends without a blob, so that it keeps no half of one."""
        done = False
        try:
            yield
            done = True
        finally:
            if not done and self._location:
                with suppress(RegistryError):
                    self._client.request(
                        self._doing, "DELETE", self._location, scopes=self._scopes, follow=False, retry=ONCE
                    )

    def _begin(self) -> None:
        answer = self._client.request(
            self._doing, "POST", self._uploads, scopes=self._scopes, body=b"", follow=False
        )
        self._client.expect(self._doing, answer, 202, pushing=True)
        self._offset = 0
        self._advance(self._uploads, answer)
        if not self._location:
            raise RegistryError(f"cannot {self._doing}: {self._client.host} opened no upload (no Location)")
        least = answer.headers.get("oci-chunk-min-length", "")
        if self._chunk and least.isdigit():
            self._chunk = max(self._chunk, int(least))

    def _send(self, descriptor: Descriptor, content: Content) -> Response:
        """The whole blob with one PUT, or the rest of it in chunks and an empty PUT."""
        if self._offset == 0 and (not self._chunk or content.size <= self._chunk):
            return self._put(self._final(descriptor), content, 0, content.size)
        while self._offset < content.size:
            rest = content.size - self._offset
            size = min(self._chunk, rest) if self._chunk else rest
            answer = self._patch(self._read(content, self._offset, size), self._offset, size)
            if answer.status not in (202, 204):
                return answer
            self._advance(self._location, answer)
            self._offset += size
        return self._put(self._final(descriptor), content, self._offset, 0)

    def _put(self, url: str, content: Content, offset: int, size: int) -> Response:
        return self._client.send(
            "PUT", url, scopes=self._scopes, hold=_COMMIT_SECONDS,
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            body=self._read(content, offset, size) if size else b"",
        )  # fmt: skip

    def _patch(self, body: bytes | Iterable[bytes], offset: int, size: int) -> Response:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
            "Content-Range": f"{offset}-{offset + size - 1}",
        }
        return self._client.send(
            "PATCH", self._location, scopes=self._scopes, headers=headers, body=body, hold=_COMMIT_SECONDS
        )

    def _send_chunk(self, chunk: bytes, offset: int) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                answer = self._patch(chunk, offset, len(chunk))
            except NoAnswer as error:
                answer = None
                failure: RegistryError = self._client.unanswered(self._doing, error)
            if answer is not None:
                if answer.status in (202, 204):
                    self._advance(self._location, answer)
                    return
                failure = self._failure(answer)
                if not self._may_go_on(answer):
                    raise failure
            if attempt == _ATTEMPTS - 1:
                raise failure
            self._pause(attempt, answer)
            there = self._progress_of_session()
            if there == offset + len(chunk):
                return
            if there != offset:
                raise RegistryUnavailable(
                    f"cannot {self._doing}: the upload broke at byte {offset}, and {self._client.host} "
                    "cannot go on with it"
                ) from failure
        raise AssertionError("the last turn raises")

    def _resume(self, size: int) -> None:
        """Go on where the session is; start a new one where it is gone or further than it can be."""
        self._offset = self._progress_of_session()
        if not 0 < self._offset <= size:
            self._location, self._offset = "", 0

    def _progress_of_session(self) -> int:
        """How many bytes the registry has of this session; -1 where it has no such session."""
        if not self._location:
            return -1
        try:
            answer = self._client.request(
                self._doing, "GET", self._location, scopes=self._scopes, follow=False
            )
        except RegistryError:
            return -1
        if answer.status not in (202, 204):
            return -1
        self._advance(self._location, answer)
        found = _RANGE.fullmatch(answer.headers.get("range", ""))
        # A range has no way to say "nothing": 0-0 is that, and a single byte is sent again.
        return int(found[1]) + 1 if found and found[1] != "0" else 0

    def _may_go_on(self, answer: Response) -> bool:
        if answer.status == 413 and self._chunk != CHUNK:
            self._chunk, self._location = CHUNK, ""
            return True
        return answer.status in TRANSIENT or answer.status in (401, 404, 416)

    def _pause(self, attempt: int, answer: Response | None) -> None:
        asked = answer.retry_after(time.time()) if answer is not None else 0.0
        self._sleep(asked or random.random() * _PAUSES[min(attempt, len(_PAUSES) - 1)])

    def _failure(self, answer: Response) -> RegistryError:
        try:
            self._client.expect(self._doing, answer, pushing=True)
        except RegistryError as error:
            return error
        raise AssertionError("no status was expected")

    def _advance(self, url: str, answer: Response) -> None:
        if location := answer.headers.get("location"):
            self._location = self._client.locate(url, location)

    def _final(self, descriptor: Descriptor) -> str:
        joint = "&" if "?" in self._location else "?"
        return f"{self._location}{joint}{urlencode({'digest': descriptor.digest})}"

    def _read(self, content: Content, offset: int, size: int) -> Iterator[bytes]:
        sent = offset
        for piece in content.read(offset, size):
            yield piece
            sent += len(piece)
            self._progress(sent)


def _even(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in chunks of one size, but for the last."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
