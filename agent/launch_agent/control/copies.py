"""Copies of launches under way, in a place that outlives the agent's state folder.

A pod's folder goes with the pod. An item that was acked then is ours for good, and nothing but the folder
knew of it until its run's object was there: it would stay claimed for ever. So what the journal writes is
written here too, before the ack: for all items that are taken in one round by one request. What is no longer
under way is taken out with the next write, or some seconds later.

Where the place cannot be reached, nothing is claimed: leases go back to their queues by themselves. Where the
agent has no right to it, the folder alone has to do, as on a machine of its own.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from launch_agent.errors import LaunchError

_log = logging.getLogger(__name__)
# Bytes that all copies may have: a Kubernetes Secret takes a MiB, in which three bytes count as four.
_MOST = 700_000
_LONGEST = 4_000_000
# Seconds that a copy of what is under way no more stays where nothing else is written; must be well below
# the shortest time that a run's object is kept after its end.
_LINGER = 3.0
_PAUSE_AFTER_FAILURE = 15.0


class Keep(Protocol):
    """A place for small values. Its methods raise LaunchError."""

    place: str

    def read(self) -> Mapping[str, bytes]: ...

    def change(self, put: Mapping[str, bytes], drop: Collection[str]) -> None: ...

    def close(self) -> None: ...


class Copies:
    """Texts by item, kept in a `Keep`. Safe to use from several threads."""

    def __init__(self, keep: Keep, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep = keep
        self._clock = clock
        self._lock = threading.Lock()
        # One change at a time: what one puts in must not be taken out by one that began before it.
        self._writing = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._own: set[str] = set()
        self._drops: set[str] = set()
        self._due = float("inf")
        self._refused = False

    def put(self, texts: Mapping[str, str]) -> None:
        """Keep one text for each item. Raises LaunchError (retryable) where it cannot be done yet."""
        packed = {_key(item): zlib.compress(text.encode()) for item, text in texts.items()}
        with self._writing:
            with self._lock:
                self._own.update(packed)
                self._drops.difference_update(packed)
                fits = self._fitting(packed)
            if fits:
                self._change(fits)

    def drop(self, item: str) -> None:
        """Forget an item's text, soon."""
        key = _key(item)
        with self._lock:
            if key in self._sizes:
                self._drops.add(key)
                self._due = min(self._due, self._clock() + _LINGER)
            self._own.discard(key)

    def flush(self, *, now: bool = False) -> None:
        """Take out what lingers, once it is time or at once. Logs what goes wrong."""
        with self._lock:
            if not self._drops or (self._clock() < self._due and not now):
                return
        with self._writing:
            try:
                self._change({})
            except LaunchError as error:
                with self._lock:
                    self._due = self._clock() + _PAUSE_AFTER_FAILURE
                _log.warning("%s", error)

    def left(self) -> Mapping[str, str]:
        """The texts that an earlier process left, by key: not those of this one. Raises LaunchError
        (retryable) where they cannot be read at present."""
        try:
            found = self._keep.read()
        except LaunchError as error:
            self._fail(error)
            return {}
        texts = {}
        with self._lock:
            for key, packed in found.items():
                self._sizes.setdefault(key, len(packed))
                if key not in self._own and key not in self._drops and (text := _unpacked(packed)):
                    texts[key] = text
        return texts

    def close(self) -> None:
        self._keep.close()

    def _fitting(self, packed: Mapping[str, bytes]) -> dict[str, bytes]:
        """Those for which there is room; the others have the folder alone."""
        room = _MOST - sum(size for key, size in self._sizes.items() if key not in packed)
        fits = {}
        for key, value in packed.items():
            room -= len(value)
            if room >= 0:
                fits[key] = value
            else:
                room += len(value)
                _log.warning("%s is full: the state folder alone keeps a launch", self._keep.place)
        return fits

    def _change(self, put: Mapping[str, bytes]) -> None:
        with self._lock:
            drops = set(self._drops)
        try:
            self._keep.change(put, drops)
        except LaunchError as error:
            self._fail(error)
            return
        with self._lock:
            self._refused = False
            for key in drops:
                self._sizes.pop(key, None)
            self._sizes.update({key: len(value) for key, value in put.items()})
            self._drops -= drops
            self._due = self._clock() + _LINGER if self._drops else float("inf")

    def _fail(self, error: LaunchError) -> None:
        if error.retryable:
            raise LaunchError(
                f"launches under way cannot be kept in {self._keep.place}: {error.message}",
                hint=error.hint,
                retryable=True,
            ) from error
        with self._lock:
            told, self._refused = self._refused, True
            self._due = float("inf")
        if not told:
            _log.warning(
                "launches under way are kept in the state folder alone, and lost where that goes with the "
                "agent's pod: %s",
                error,
            )


def _key(item: str) -> str:
    return hashlib.sha256(item.encode()).hexdigest()


def _unpacked(packed: bytes) -> str:
    """The text; empty for what is none."""
    try:
        return zlib.decompressobj().decompress(packed, _LONGEST).decode()
    except (zlib.error, UnicodeDecodeError):
        return ""
