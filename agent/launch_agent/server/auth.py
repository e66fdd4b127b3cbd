"""Finds out whose request it is: `Basic api:KEY` as official clients send it, or `Bearer KEY`."""

from __future__ import annotations

import base64
import binascii
import threading
from collections import OrderedDict

from launch_agent.server.store import Store
from launch_agent.server.store.ids import digest_of
from launch_agent.server.store.keys import viewer_of
from launch_agent.server.store.rows import Viewer

# A key that is found is believed for this many seconds without asking the database again.
_TRUSTED_SECONDS = 10.0
_MOST_REMEMBERED = 1000


def key_in(header: str | None) -> str | None:
    """The API key in an Authorization header; None where there is none."""
    scheme, _, value = (header or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return text.partition(":")[2] or None


class Keyring:
    """Knows the users of keys; threads may share it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[float, Viewer]] = OrderedDict()

    def recall(self, api_key: str) -> Viewer | None:
        """The user of a key that was looked up a moment ago; asks no database."""
        with self._lock:
            until, viewer = self._known.get(digest_of(api_key), (0.0, None))
        return viewer if until > self._store.clock() else None

    def look_up(self, api_key: str) -> Viewer | None:
        """The user of a key; None where it is nobody's."""
        with self._store.reading() as connection:
            viewer = viewer_of(connection, api_key)
        if viewer is not None:
            with self._lock:
                self._known[digest_of(api_key)] = (self._store.clock() + _TRUSTED_SECONDS, viewer)
                while len(self._known) > _MOST_REMEMBERED:
                    self._known.popitem(last=False)
        return viewer
