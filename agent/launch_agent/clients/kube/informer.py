"""A copy of some of a cluster's objects, kept up to date by one list and then a watch.

What is kept of each object is what `keep` makes of it; the rest is dropped as soon as it is read. `changed`
is called with `namespace/name` after the copy has changed, in the informer's thread and outside of its lock.

    list, in parts ──> watch from the list's version ──ends as agreed──> watch from the last version seen
         ^                    │
         └── cut, silent, 410, refused: after a pause, and whatever is missing then has been deleted

A watch that has died says nothing, as does one without news. So the server is asked to end each one before
`silence` seconds are over, and one that has said nothing by then is cut.

Pitfalls: a copy that hears nothing does not empty itself; `age` says how old it is. A change that is made and
undone between two looks is not seen, and several changes may be told as one.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import (
    Forbidden,
    Gone,
    KubeError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from launch_agent.clients.kube.objects import Change, Event, Object, Resource, version_of
from launch_agent.clients.kube.snapshot import Snapshot

_log = logging.getLogger(__name__)
T = TypeVar("T")

# Seconds. The longest that a watch may be silent, and how much earlier the server is asked to end it.
SILENCE = 60.0
_MARGIN = 0.75
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
# What events can lose (an API server that was restored from a backup) is found by a list now and then.
_LIST_EVERY = 1800.0
_PAGE = 100
# A watch of so many seconds was no failure.
_STEADY = 5.0
# Refusals that somebody has to act on; they are told once.
_REFUSED = (Forbidden, Unauthorized, NotFound)


class Informer(Generic[T]):
    """Follows the objects of a kind in a namespace (empty: in all) that a label selector chooses.

    `keep` may return None for what is not of interest. `index` is a label by whose value `items` can choose.
    """

    def __init__(
        self,
        api: KubeApi,
        resource: Resource,
        namespace: str,
        selector: str,
        *,
        keep: Callable[[Object], T | None],
        changed: Callable[[str], None] = lambda key: None,
        index: str = "",
        silence: float = SILENCE,
        list_every: float = _LIST_EVERY,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        # Connections of its own, so that stopping it ends its requests and nobody else's.
        self._api = api.fork()
        self._resource = resource
        self._namespace = namespace
        self._selector = selector
        self._keep = keep
        self._tell = changed
        self._silence = silence
        self._list_every = list_every
        self._clock = clock
        self._jitter = jitter
        self._copy: Snapshot[T] = Snapshot(index)
        self._stopped = threading.Event()
        self._synced = threading.Event()
        self._thread: threading.Thread | None = None
        self._heard = clock()
        self._listed_at: float | None = None
        self._version = ""
        self._failures = 0
        self._complained: type[KubeError] | None = None
        self._mistakes: set[str] = set()
        self.error: KubeError | None = None
        """Why nothing is heard at present; None where all is well."""

    @property
    def name(self) -> str:
        return f"{self._resource.plural} in {self._namespace or 'all namespaces'}"

    @property
    def synced(self) -> bool:
        """Whether there has been a whole list."""
        return self._synced.is_set()

    @property
    def age(self) -> float:
        """Seconds since anything was heard: a list, an event, or that there is none. Before the first: since
        the informer was made."""
        return self._clock() - self._heard

    @property
    def listed(self) -> float:
        """Seconds since the last whole list; infinite before the first."""
        return float("inf") if self._listed_at is None else self._clock() - self._listed_at

    def start(self) -> None:
        """Begin to follow, in a thread."""
        thread = threading.Thread(target=self._run, name=f"watch {self.name}", daemon=True)
        self._thread = thread
        thread.start()

    def stop(self) -> None:
        """End. A request that is under way is cut; the copy stays as it is. Waits at most a second."""
        self._stopped.set()
        self._api.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def wait_synced(self, seconds: float) -> bool:
        """Wait for the first whole list; False where there has been none in that time."""
        return self._synced.wait(seconds)

    def get(self, namespace: str, name: str) -> T | None:
        return self._copy.get(f"{namespace}/{name}")

    def items(self, value: str | None = None) -> Sequence[T]:
        """All that is kept, or what has this value of the label `index`."""
        return self._copy.items(value)

    def _run(self) -> None:
        while not self._stopped.is_set():
            pause = 0.0
            try:
                self._follow()
            except Gone as error:
                # The ordinary end of a version; where lists themselves end so, it is no longer ordinary.
                pause = self._failed(error) if self._failures else self._forgotten()
            except KubeError as error:
                pause = self._failed(error)
            if pause:
                self._stopped.wait(pause)

    def _follow(self) -> None:
        """A list where one is due, then one watch."""
        if not self._version or self.listed > self._list_every * (0.9 + 0.2 * self._jitter()):
            self._list()
        lasting = self._silence * _MARGIN * (0.9 + 0.1 * self._jitter())
        with self._api.watch(
            self._resource,
            self._namespace,
            version=self._version,
            labels=self._selector,
            lasting=lasting,
            silence=self._silence * 0.95,
        ) as events:
            self._hear()
            self.error = None
            steady = self._clock() + min(_STEADY, lasting / 2)
            for event in events:
                self._take(event)
                if self._failures and self._clock() >= steady:
                    self._well()
        # The server ended it as agreed, so up to this moment nothing else has happened.
        self._hear()
        if self._clock() < steady:
            raise Unavailable("the watch was ended as soon as it had begun", retryable=True)
        self._well()

    def _list(self) -> None:
        seen: set[str] = set()
        version = ""
        for page in self._api.pages(self._resource, self._namespace, labels=self._selector, limit=_PAGE):
            keys = [key for item in page.items if (key := self._put(item, seen))]
            version = page.version
            self._told(keys)
            self._hear()
        gone = self._copy.retain(seen)
        self._version, self._listed_at = version, self._clock()
        self._synced.set()
        self._hear()
        self._told(gone)

    def _take(self, event: Event) -> None:
        self._hear()
        if event.change is Change.BOOKMARK:
            self._version = event.version or self._version
            return
        key = self._drop(event.object) if event.change is Change.DELETED else self._put(event.object, set())
        self._version = event.version or self._version
        if key:
            self._told([key])

    def _put(self, obj: Object, seen: set[str]) -> str:
        """Keep an object; its key where that changes anything, else empty. What cannot be read counts as
        seen, so that what is kept of it stays as it was."""
        key = _key(obj)
        seen.add(key)
        version = version_of(obj)
        if self._copy.has(key, version):
            return ""
        try:
            kept = self._keep(obj)
        except Exception as error:  # whoever wrote `keep` made a mistake: other objects do not pay for it
            self._mistaken(error, f"what was read of {key} cannot be understood")
            return ""
        self._copy.put(key, version, kept, obj)
        return key

    def _drop(self, obj: Object) -> str:
        key = _key(obj)
        return key if self._copy.drop(key) else ""

    def _told(self, keys: Sequence[str]) -> None:
        for key in keys:
            if self._stopped.is_set():
                return
            try:
                self._tell(key)
            except Exception as error:  # one who is told must not end the watch for all others
                self._mistaken(error, f"what follows from a change of {key} failed")

    def _mistaken(self, error: Exception, what: str) -> None:
        """Log a mistake of others; one that comes with each of thousands of events, in full only once."""
        kind = f"{type(error).__name__} {what.partition(' of ')[0]}"
        level = logging.DEBUG if kind in self._mistakes else logging.ERROR
        self._mistakes.add(kind)
        _log.log(level, "%s: %s", self.name, what, exc_info=error)

    def _hear(self) -> None:
        self._heard = self._clock()

    def _well(self) -> None:
        """The watch has lasted. That it was opened says little: what ends it may end each one at once."""
        if self._complained is not None:
            _log.info("%s can be followed again", self.name)
        self._failures, self._complained = 0, None

    def _forgotten(self) -> float:
        self._version, self._failures = "", 1
        return 0.0

    def _failed(self, error: KubeError) -> float:
        """Note it, and say how many seconds to wait."""
        if self._stopped.is_set():
            return 0.0
        # A connection that breaks is nothing to tell of, one that cannot be had again is.
        worth_telling = isinstance(error, _REFUSED) or self._failures > 0
        if worth_telling and self._complained is not type(error):
            self._complained = type(error)
            _log.warning("%s cannot be followed: %s", self.name, error.message)
        else:
            _log.debug("%s cannot be followed: %s", self.name, error.message)
        self.error = error
        self._failures += 1
        if error.status != HTTPStatus.TOO_MANY_REQUESTS:
            # What happened meanwhile is told by a list, whatever the server remembers. One that is busy has
            # lost nothing, and a list is the last thing that it needs.
            self._version = ""
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 20))
        pause = pause * (0.5 + 0.5 * self._jitter())
        asked = error.details.retry_after if isinstance(error, Unavailable) else 0.0
        return max(pause, min(asked, _LONGEST_PAUSE))


def _key(obj: Object) -> str:
    meta: dict[str, Any] = obj.get("metadata") or {}
    return f"{meta.get('namespace', '')}/{meta.get('name', '')}"
