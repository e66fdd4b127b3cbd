"""Launches that are on their way, on disk, so that a killed agent loses none of them.

Between the ack (the backend hands the item to us for good) and the run's object on the target resource,
nothing outside of this process knows of a job. An entry is written before the ack and erased when the object
exists or the failure is reported; what a start finds here it takes up again. Entries hold run specs, which
may carry a submitter's key: files are readable by their owner alone.

A folder that goes with its pod is no such place, so entries are copied to one that stays (`copies`).

What has started is known from its object. Its spec is kept for as long as it runs, since a preempted job goes
back to its queue as it was, and not every backend can be asked what it was.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launch_agent.control.copies import Copies
from launch_agent.errors import LaunchError
from launch_agent.spec.identity import item_key
from launch_agent.spec.model import Lease, RunIdentity

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One launch: the leased item and the run it is to become."""

    lease: Lease
    identity: RunIdentity


class Journal:
    """A folder with one file per launch that is under way, and copies of these files elsewhere if any."""

    def __init__(self, directory: Path, copies: Copies | None = None) -> None:
        self._directory = directory
        self._copies = copies
        self._launches = directory / "launches"
        self._started = directory / "started"
        self._requeues = directory / "requeues"
        self._resources = directory / "resources"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Own the folder for as long as the context lasts; the lock goes with the process.

        Raises LaunchError where another agent has it: two agents of one name would adopt each other's runs.
        """
        try:
            for folder in (self._launches, self._started, self._requeues, self._resources):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LaunchError(
                f"the state folder {self._directory} cannot be used: {error.strerror}",
                hint="set 'state-dir' in the config to a folder that the agent may write",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise LaunchError(
                f"another agent of the same name holds the state folder {self._directory}",
                hint="give each agent on a machine a name of its own ('name' in the config)",
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)

    def record(self, *entries: Entry) -> None:
        """Write entries so that they outlive the process, each whole or not at all. Raises LaunchError, and
        none of them is kept then."""
        texts = {entry.lease.item_id: _text(entry) for entry in entries}
        try:
            for item_id, text in texts.items():
                _write(self._path(item_id), text)
        except OSError as error:
            self._unwrite(texts)
            raise self._full(error) from error
        if self._copies is not None and texts:
            try:
                self._copies.put(texts)
            except LaunchError:
                self._unwrite(texts)
                raise

    def started(self, item_id: str) -> None:
        """Note that the item's object exists: a start does not launch it again."""
        name = self._path(item_id).name
        self._drop_copy(item_id)
        try:
            self._path(item_id).replace(self._started / name)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("the journal entry of item %s cannot be moved: %s", item_id, error.strerror)

    def spec_of(self, item_id: str) -> Mapping[str, Any] | None:
        """The run spec of an item that was not erased; None where nothing is known of it."""
        name = self._path(item_id).name
        for folder in (self._started, self._launches):
            try:
                spec = json.loads((folder / name).read_text())["lease"]["spec"]
            except (OSError, ValueError, TypeError, KeyError):
                continue
            return spec if isinstance(spec, dict) else None
        return None

    def note_requeue(self, item_id: str) -> bool:
        """Note that the item's job is about to be put back; says whether that was noted before."""
        note = self._requeues / self._path(item_id).stem
        try:
            os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return True
        except OSError as error:
            _log.warning("the state folder takes no note of item %s: %s", item_id, error.strerror)
        return False

    def erase(self, item_id: str) -> None:
        """Forget an item. What cannot be removed is harmless: the next start finds that it is not open any
        more."""
        path = self._path(item_id)
        self._drop_copy(item_id)
        try:
            for file in (path, self._started / path.name, self._requeues / path.stem):
                file.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("the journal entry of item %s cannot be removed: %s", item_id, error.strerror)

    def sweep(self, is_live: Callable[[str], bool]) -> None:
        """Forget the started items that are not live: their objects went while no agent ran. To be called
        when everything that exists is known."""
        for path in self._started.glob("*.json"):
            try:
                item_id = str(json.loads(path.read_text())["lease"]["item_id"])
            except (OSError, ValueError, TypeError, KeyError):
                path.unlink(missing_ok=True)
                continue
            if not is_live(item_id):
                self.erase(item_id)

    def pending(self) -> list[Entry]:
        """The launches that an earlier process left, oldest first; unreadable files are named and left."""
        entries = []
        for path in sorted(self._launches.glob("*.json"), key=lambda path: path.stat().st_mtime):
            try:
                entries.append(_entry(path.read_text()))
            except (OSError, ValueError, TypeError, KeyError) as error:
                _log.warning("the journal entry %s cannot be read and is left alone: %s", path.name, error)
        return entries

    def left_elsewhere(self) -> list[Entry]:
        """The launches that an earlier process left of which this folder knows nothing: it had another. They
        are in this one from now on. Raises LaunchError where the copies cannot be read."""
        if self._copies is None:
            return []
        entries = []
        for text in self._copies.left().values():
            try:
                entry = _entry(text)
            except (ValueError, TypeError, KeyError) as error:
                _log.warning("a copy of a journal entry cannot be read and is left alone: %s", error)
                continue
            path = self._path(entry.lease.item_id)
            if (self._started / path.name).exists():
                self._drop_copy(entry.lease.item_id)
            elif not path.exists():
                try:
                    _write(path, text)
                except OSError as error:
                    raise self._full(error) from error
                entries.append(entry)
        return entries

    def tidy(self, *, now: bool = False) -> None:
        """Remove copies of what is under way no more; to be called once in a while, and at the end."""
        if self._copies is not None:
            self._copies.flush(now=now)

    def remember_resource(self, resource: str) -> None:
        """Note that runs may exist on this target resource: the next start looks there."""
        (self._resources / resource).touch(mode=0o600)

    def known_resources(self) -> list[str]:
        return sorted(path.name for path in self._resources.iterdir())

    def _path(self, item_id: str) -> Path:
        return self._launches / f"{item_key(item_id)}.json"

    def _drop_copy(self, item_id: str) -> None:
        if self._copies is not None:
            self._copies.drop(item_id)

    def _full(self, error: OSError) -> LaunchError:
        return LaunchError(
            f"the state folder {self._directory} takes no entry: {error.strerror}",
            hint="no job is started without one; is the disk full, or read-only?",
        )

    def _unwrite(self, item_ids: Iterable[str]) -> None:
        """Take back entries of items that were not acked: they go back to their queue."""
        for item_id in item_ids:
            with suppress(OSError):
                self._path(item_id).unlink(missing_ok=True)


def _text(entry: Entry) -> str:
    lease = entry.lease
    return json.dumps(
        {
            "lease": {
                "item_id": lease.item_id,
                "queue": lease.queue,
                "entity": lease.entity,
                "spec": dict(lease.spec),
            },
            "identity": asdict(entry.identity),
        }
    )


def _entry(text: str) -> Entry:
    """Raises ValueError, TypeError or KeyError for what is none."""
    content = json.loads(text)
    return Entry(lease=Lease(**content["lease"]), identity=RunIdentity(**content["identity"]))


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
