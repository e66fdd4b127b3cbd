"""Pulls an image, tells of the progress, and says why where it cannot.

The engine answers a pull with a stream of JSON events; an error comes either as the response's status or,
once the stream has begun, as its last event, and its kind can only be read from its words. Equal pulls in
flight are one pull.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from launch_agent.clients.docker_engine import APIError, Engine, explain, speaking
from launch_agent.errors import ImageDenied, ImageNotFound, RegistryUnreachable, RunnerError
from launch_agent.spec.image import ImageRef

_log = logging.getLogger(__name__)
_PROGRESS_SECONDS = 5.0
_DENIED = ("denied", "unauthorized", "authentication required", "no basic auth", "forbidden")
_ABSENT = (
    "manifest unknown",
    "not found",
    "name unknown",
    "repository name not known",
    "no matching manifest",
)
_SILENT = (
    "connection refused", "no such host", "timeout", "deadline exceeded", "network is unreachable",
    "no route", "server gave http response", "tls", "x509", "eof", "connection reset", "503", "502",
    "500 internal",
)  # fmt: skip


class Puller:
    """Pulls through one engine. `timeout` is the number of seconds that one pull may take in all."""

    def __init__(
        self, engine: Callable[[], Engine], *, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight: dict[str, tuple[threading.Lock, int]] = {}

    def pull(self, image: str, *, platform: str = "", needed: Callable[[], bool] = lambda: True) -> None:
        """Pull an image unless, once no equal pull is in flight, it is not `needed` any more.

        Raises ImageNotFound, ImageDenied, RegistryUnreachable, or RunnerError where the engine fails.
        """
        ref = ImageRef.parse(image)
        repository = ref.repository
        tag = ref.digest or ref.tag or "latest"
        with self._alone(f"{repository}:{tag} {platform}"):
            if not needed():
                return
            _log.info("pulling %s", image)
            with speaking(f"pull {image}"):
                try:
                    events = self._engine().pull(
                        repository, tag=tag, stream=True, decode=True, platform=platform or None
                    )
                    self._follow(image, events)
                except APIError as error:
                    raise _failure(image, explain(error)) from error
            _log.info("pulled %s", image)

    def _follow(self, image: str, events: Iterator[Mapping[str, Any]]) -> None:
        now = self._clock()
        deadline, report = now + self._timeout, now + _PROGRESS_SECONDS
        layers: dict[str, tuple[int, int, bool]] = {}
        for event in events:
            if "error" in event:
                raise _failure(image, str(event["error"]))
            _count(layers, event)
            now = self._clock()
            if now > deadline:
                raise RegistryUnreachable(
                    f"pulling {image} took longer than {self._timeout:g} s",
                    hint="raise runner.local-container.pull-timeout, or pull the image ahead",
                )
            if now >= report:
                report = now + _PROGRESS_SECONDS
                _log.info("pulling %s: %s", image, _progress(layers))

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        with self._lock:
            lock, users = self._in_flight.get(key, (threading.Lock(), 0))
            self._in_flight[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                _, users = self._in_flight[key]
                if users == 1:
                    del self._in_flight[key]
                else:
                    self._in_flight[key] = (lock, users - 1)


def _count(layers: dict[str, tuple[int, int, bool]], event: Mapping[str, Any]) -> None:
    """Note a layer's bytes so far, its size, and whether it is there. Unpacking counts its bytes anew: the
    figures of the download are kept."""
    layer, status = event.get("id"), event.get("status", "")
    detail = event.get("progressDetail") or {}
    if not layer or status.startswith("Pulling from"):
        return
    got, size, _ = layers.get(layer, (0, 0, False))
    if status == "Downloading":
        got, size = detail.get("current", got), detail.get("total", size)
    layers[layer] = (got, size, status in ("Pull complete", "Already exists"))


def _progress(layers: Mapping[str, tuple[int, int, bool]]) -> str:
    there = sum(done for _, _, done in layers.values())
    got, size = (sum(layer[part] for layer in layers.values()) / 1e6 for part in (0, 1))
    return f"{there} of {len(layers)} layers, {got:.0f} of {size:.0f} MB downloaded"


def _failure(image: str, said: str) -> RunnerError:
    """The kind of a pull's failure, by the words of the engine. Docker Hub says "denied" for what is absent
    too, so as not to tell strangers what exists; the order here gives its full phrase to ImageDenied."""
    words = said.lower()
    if any(word in words for word in _DENIED):
        return ImageDenied(
            f"cannot pull {image}: {said}",
            hint="check the name; if the image is private, `docker login` its registry as the agent's user",
        )
    if any(word in words for word in _ABSENT):
        return ImageNotFound(f"cannot pull {image}: {said}", hint="check the image's name and tag")
    if any(word in words for word in _SILENT):
        return RegistryUnreachable(
            f"cannot pull {image}: {said}", hint="can the engine reach the image's registry?", retryable=True
        )
    return RunnerError(f"cannot pull {image}: {said}")
