"""What an informer keeps, by `namespace/name`, for threads that read while one writes."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Entry(NamedTuple, Generic[T]):
    version: str
    label: str
    kept: T | None


class Snapshot(Generic[T]):
    """Objects with the version at which each was read. What was not worth keeping counts as read, and is not
    among the items. `index` is the label by whose value they can be chosen."""

    def __init__(self, index: str = "") -> None:
        self._index = index
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry[T]] = {}
        self._by_label: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def has(self, key: str, version: str) -> bool:
        """Whether the object was read at just this version."""
        entry = self._entries.get(key)
        return entry is not None and bool(version) and entry.version == version

    def get(self, key: str) -> T | None:
        with self._lock:
            entry = self._entries.get(key)
        return entry.kept if entry is not None else None

    def items(self, value: str | None = None) -> Sequence[T]:
        with self._lock:
            keys = self._entries if value is None else self._by_label.get(value, {})
            entries = [self._entries[key] for key in keys]
        return [entry.kept for entry in entries if entry.kept is not None]

    def put(self, key: str, version: str, kept: T | None, obj: Mapping[str, Any]) -> None:
        label = self._label(obj)
        with self._lock:
            self._unlabel(key)
            self._entries[key] = _Entry(version, label, kept)
            if label:
                self._by_label.setdefault(label, {})[key] = None

    def drop(self, key: str) -> bool:
        """Whether it was there."""
        with self._lock:
            self._unlabel(key)
            return self._entries.pop(key, None) is not None

    def retain(self, keys: Collection[str]) -> Sequence[str]:
        """Drop all others, and say which those were."""
        with self._lock:
            gone = [key for key in self._entries if key not in keys]
            for key in gone:
                self._unlabel(key)
                del self._entries[key]
        return gone

    def _label(self, obj: Mapping[str, Any]) -> str:
        labels = (obj.get("metadata") or {}).get("labels") or {}
        return str(labels.get(self._index, "")) if self._index else ""

    def _unlabel(self, key: str) -> None:
        entry = self._entries.get(key)
        if entry is None or not entry.label:
            return
        keys = self._by_label[entry.label]
        del keys[key]
        if not keys:
            del self._by_label[entry.label]
