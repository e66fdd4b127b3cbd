"""The bytes of uploaded files, in a folder, and the signed URLs that lead to them.

A URL names its method, run and file and carries an HMAC over them with its end: who has it needs no API key,
as with the cloud stores that official clients are used to, and can do nothing else with it. On disk a file is
named by the hash of its name, so that a name can neither leave the folder nor be too long or collide by case.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import anyio

from launch_agent.errors import LaunchError

# Official clients ask for a URL right before they use it.
_VALID_SECONDS = 3600
_LONGEST_NAME = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What arrived: `size` in bytes, `md5` hexadecimal."""

    size: int
    md5: str


class FileStore:
    """`folder` holds the files, one folder for each run; `secret` signs the URLs."""

    def __init__(self, folder: Path, secret: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._secret = secret
        self._clock = clock
        self._incoming = folder / ".incoming"

    def open(self) -> None:
        """Make the folder, and remove what a killed server left of uploads that it had not taken in whole."""
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        for partial in self._incoming.iterdir():
            partial.unlink()

    def sign(self, method: str, run_id: str, name: str) -> str:
        """Path and query of a URL for one file and one method, valid for an hour."""
        expires = int(self._clock()) + _VALID_SECONDS
        signature = self._signature(method, run_id, name, expires)
        query = urlencode({"expires": expires, "signature": signature})
        return f"/storage/{run_id}/{quote(name)}?{query}"

    def is_signed(self, method: str, run_id: str, name: str, expires: str, signature: str) -> bool:
        """Whether `sign` made this, and its hour is not over."""
        if not expires.isdecimal() or int(expires) < self._clock():
            return False
        return hmac.compare_digest(self._signature(method, run_id, name, int(expires)), signature)

    def _signature(self, method: str, run_id: str, name: str, expires: int) -> str:
        text = "\n".join((method, run_id, name, str(expires)))
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def path(self, run_id: str, name: str) -> Path:
        """Where the bytes of a file lie, or would."""
        return self.folder / run_id / hashlib.sha256(name.encode()).hexdigest()

    async def receive(self, run_id: str, name: str, chunks: AsyncIterable[bytes]) -> Received:
        """Write an upload; it takes its name only when all of it is on disk."""
        target = self.path(run_id, name)
        await anyio.to_thread.run_sync(lambda: target.parent.mkdir(parents=True, exist_ok=True, mode=0o700))
        partial = self._incoming / secrets.token_hex(16)
        size, md5 = 0, hashlib.md5(usedforsecurity=False)
        try:
            async with await anyio.open_file(partial, "xb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    md5.update(chunk)
                    await file.write(chunk)
                await file.flush()
                await anyio.to_thread.run_sync(os.fsync, file.wrapped.fileno())
            await anyio.to_thread.run_sync(partial.replace, target)
        finally:
            partial.unlink(missing_ok=True)
        return Received(size=size, md5=md5.hexdigest())


def checked_name(name: str) -> str:
    """The name of a run's file. Raises LaunchError for one that no client would need."""
    parts = name.split("/")
    if not name or len(name) > _LONGEST_NAME or ".." in parts or name.startswith("/") or "\0" in name:
        raise LaunchError(f"{name[:80]!r} cannot be the name of a run's file")
    return name
