"""One custom job: its state, its output, its end."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from launch_agent.errors import RunnerError
from launch_agent.runners.vertex import states
from launch_agent.runners.vertex.listing import Listing, age_of
from launch_agent.runners.vertex.refusals import Ended, JobMissing
from launch_agent.runners.vertex.service import Service
from launch_agent.runners.vertex.told import Told
from launch_agent.spec.identity import item_hash
from launch_agent.spec.model import RunIdentity, RunState, RunStatus

_log = logging.getLogger(__name__)
LONGEST_LOG = 1_000_000
_STOPPING = RunStatus(state=RunState.STOPPING)
# How the logs of a job's machines are named; others hold what the service says of itself.
_REPLICA = "workerpool"


class Host(Protocol):
    """What a run needs of its runner."""

    service: Service
    is_kept: bool
    told: Told

    def listing(self, agent: str) -> Listing: ...


class CustomJob:
    """A job that was created, or that an earlier agent has created. `described` is what the API told of it;
    `since` the time, by the listing's clock, of that."""

    def __init__(
        self, host: Host, described: Mapping[str, Any], *, identity: RunIdentity, since: float
    ) -> None:
        self.name = str(described["name"])
        self.since = since
        self.item = item_hash(identity)
        self.age = age_of(described)
        self.wants_look = False
        self.wants_stop = False
        self._host = host
        self._title = str(described["displayName"])
        self._created = str(described.get("createTime", ""))
        self._identity = identity
        self._listing = host.listing(identity.agent)
        self._is_stopping = False
        self._is_released = False
        self._error: RunnerError | None = None
        self._status = states.status_of(described)
        if not self._status.state.is_terminal:
            self._listing.follow(self)

    @property
    def id(self) -> str:
        return self._title

    @property
    def identity(self) -> RunIdentity:
        return self._identity

    def status(self) -> RunStatus:
        if self._status.state.is_terminal:
            return self._status
        self._listing.start()
        if error := self._error or self._listing.error:
            raise RunnerError(error.message, hint=error.hint, retryable=True) from error
        return _STOPPING if self._is_stopping else self._status

    def hear(self, row: Mapping[str, Any]) -> None:
        seen = states.status_of(row)
        if seen.state.is_terminal:
            self.wants_look = True  # a row has no reason
        else:
            self.wants_look, self._error = False, None
            self._set(seen)

    def look(self) -> None:
        try:
            found = self._host.service.get(f"ask for custom job {self._title}", self.name)
        except JobMissing:
            self._set(states.gone())
        except RunnerError as error:
            self._error = error
            return
        else:
            self._set(states.status_of(found))
        self._error, self.wants_look = None, False

    def stop(self) -> bool:
        try:
            self._host.service.cancel(f"cancel custom job {self._title}", self.name)
        except (JobMissing, Ended):
            self.wants_look = True
        except RunnerError as error:
            _log.warning("custom job %s cannot be cancelled yet: %s", self._title, error)
            return False
        self.wants_stop = False
        return True

    def logs(self, tail: int) -> str:
        if self._is_released and not self._host.is_kept:
            return ""
        number = self.name.rpartition("/")[2]
        what = f"read the log of custom job {self._title}"
        entries = self._host.service.log_entries(what, number, tail, since=self._created)
        return _text(list(reversed(entries)))[-LONGEST_LOG:]

    def cancel(self) -> None:
        if self._status.state.is_terminal or self._is_stopping:
            return
        self._is_stopping = self.wants_stop = True
        self._listing.wake()

    def release(self) -> None:
        """Leave the job in the project's history, or delete it where the config says so."""
        if not self._status.state.is_terminal:
            raise RunnerError(f"custom job {self._title} has not ended")
        if self._is_released or self._status.reason == states.GONE:
            return
        if not self._host.is_kept:
            with contextlib.suppress(JobMissing):  # somebody was quicker
                self._host.service.delete(f"delete custom job {self._title}", self.name)
        self._host.told.add(self.name)
        self._is_released = True

    def _set(self, status: RunStatus) -> None:
        if status == self._status:
            return  # whoever looks again is to find the very same object
        self._status = status
        if status.state.is_terminal:
            self._listing.forget(self)


def _text(entries: Sequence[Mapping[str, Any]]) -> str:
    """Lines as they were printed; with the machine's name in front where there are several machines."""
    replicas = [_replica(entry) for entry in entries]
    are_many = len({name for name in replicas if name}) > 1
    return "".join(
        f"[{name}] {_line(entry)}\n" if are_many and name else f"{_line(entry)}\n"
        for name, entry in zip(replicas, entries, strict=True)
    )


def _replica(entry: Mapping[str, Any]) -> str:
    name = str(entry.get("logName", "")).rpartition("/")[2]
    return name if name.startswith(_REPLICA) else ""


def _line(entry: Mapping[str, Any]) -> str:
    """What an entry says: a line as it was printed, or a structure's message."""
    if "textPayload" in entry:
        return str(entry["textPayload"]).rstrip("\n")
    payload = entry.get("jsonPayload") or entry.get("protoPayload") or {}
    return str(payload.get("message") or json.dumps(payload)).rstrip("\n")
