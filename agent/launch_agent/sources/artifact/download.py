"""Fetches an artifact's files: several at once, each checked for size and checksum before it gets its
name."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin

from launch_agent.clients.http import NoAnswer
from launch_agent.errors import SourceError, SourceNotFound
from launch_agent.sources.artifact.backend import Backend, refused
from launch_agent.sources.artifact.manifest import Entry, Found, Manifest

_AT_ONCE = 8
_ATTEMPTS = 4
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


class Download:
    """`timeout` is in seconds, for everything; with `stop` set it ends soon, with SourceError."""

    def __init__(
        self,
        backend: Backend,
        *,
        timeout: float,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._timeout = timeout
        self._stop = stop
        self._clock = clock
        self._until = clock() + timeout

    def into(self, folder: Path, found: Found, manifest: Manifest) -> None:
        """All files, below a folder that is empty. Raises SourceError and its kinds."""
        urls = self._urls(found, manifest, list(manifest.entries))
        for parent in sorted({Path(path).parent for path in manifest.entries}):
            try:
                (folder / parent).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _disk(found, str(parent), error) from error
        self._each(manifest, urls, lambda entry, url: self._to_file(folder / entry.path, entry, url, found))

    def in_memory(self, found: Found, manifest: Manifest, names: Sequence[str]) -> dict[str, bytes]:
        """Those of the named files that are there."""
        there = [name for name in names if name in manifest.entries]
        urls = self._urls(found, manifest, there)
        files: dict[str, bytes] = {}

        def keep(entry: Entry, url: str) -> None:
            files[entry.path] = b"".join(self._checked(entry, url, found))

        self._each(manifest, urls, lambda entry, url: self._patiently(lambda: keep(entry, url)))
        return files

    def _urls(self, found: Found, manifest: Manifest, names: Sequence[str]) -> dict[str, str]:
        wanted = set(names)
        urls = {path: url for path, url in self._backend.urls(found, self._stop) if path in wanted}
        self._check_time(found)
        if missing := sorted(wanted - urls.keys()):
            raise SourceNotFound(
                f"{found.name} has files that the backend does not give: {len(missing)}, as {missing[0]!r}",
                hint="its upload may be unfinished; create the job anew",
            )
        return urls

    def _each(self, manifest: Manifest, urls: Mapping[str, str], get: Callable[[Entry, str], None]) -> None:
        """Several at a time; the first failure ends the others."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="artifact") as pool, ExitStack() as on_exit:
            failed = threading.Event()
            on_exit.callback(failed.set)

            def unless_failed(entry: Entry, url: str) -> None:
                if not failed.is_set():
                    get(entry, url)

            waiting: set[Future[None]] = {
                pool.submit(unless_failed, manifest.entries[path], url) for path, url in sorted(urls.items())
            }
            done, _ = wait(waiting, return_when=FIRST_EXCEPTION)
            for each in done:
                each.result()

    def _to_file(self, target: Path, entry: Entry, url: str, found: Found) -> None:
        """Written beside its place, and moved there once it is known to be right."""
        partial = target.with_name(f".{hashlib.sha256(target.name.encode()).hexdigest()[:16]}.part")

        def write() -> None:
            try:
                with partial.open("xb") as file:
                    for piece in self._checked(entry, url, found):
                        file.write(piece)
                partial.replace(target)
            except OSError as error:
                raise _disk(found, entry.path, error) from error
            finally:
                partial.unlink(missing_ok=True)

        self._patiently(write)

    def _patiently(self, attempt: Callable[[], None]) -> None:
        for number in range(1, _ATTEMPTS + 1):
            try:
                attempt()
            except SourceError as error:
                if not error.retryable or number == _ATTEMPTS or self._clock() > self._until:
                    raise
                self._stop.wait(0.5 * 2.0**number)
            else:
                return

    def _checked(self, entry: Entry, url: str, found: Found) -> Iterator[bytes]:
        """The file's bytes. Raises SourceError at their end where they are not those of the manifest."""
        doing = f"fetching {entry.path!r} of {found.name}"
        size, md5 = 0, hashlib.md5(usedforsecurity=False)
        for piece in self._body(url, doing):
            self._check_time(found)
            size += len(piece)
            md5.update(piece)
            if size > entry.size:
                break
            yield piece
        if size != entry.size or (entry.md5 and md5.hexdigest() != entry.md5):
            raise SourceError(
                f"{doing}: what came is not what its manifest says ({size} of {entry.size} bytes)",
                hint="something between the agent and the backend changes files, or the upload was cut short",
                retryable=True,
            )

    def _body(self, url: str, doing: str) -> Iterator[bytes]:
        for _ in range(_MOST_REDIRECTS):
            url = self._backend.absolute(url)
            headers = {"Accept-Encoding": "identity", **self._backend.headers_for(url)}
            try:
                with self._backend.http.stream("GET", url, headers=headers) as answer:
                    if answer.status in _REDIRECTS and answer.headers.get("location"):
                        url = urljoin(url, answer.headers["location"])
                        continue
                    if answer.status != 200:
                        raise refused(answer.status, doing, answer.whole(1000).excerpt())
                    yield from answer.chunks()
                    return
            except NoAnswer as error:
                raise SourceError(f"{doing}: {error.reason}", retryable=True) from error
        raise SourceError(f"{doing}: it is redirected again and again")

    def _check_time(self, found: Found) -> None:
        if self._stop.is_set():
            raise SourceError(f"fetching {found.name} was stopped")
        if self._clock() > self._until:
            raise SourceError(
                f"fetching {found.name} did not end within {self._timeout:g} s",
                hint="the backend is slow, or the job's code is very large",
                retryable=True,
            )


def _disk(found: Found, path: str, error: OSError) -> SourceError:
    said = error.strerror or os.strerror(error.errno or 0)
    return SourceError(
        f"writing {path!r} of {found.name}: {said}", hint="give the agent's temporary folder more space"
    )
