"""One custom job: its state, its output, its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from launch_agent.errors import RunnerError
from launch_agent.runners.vertex import states
from launch_agent.runners.vertex.listing import Listing
from launch_agent.runners.vertex.refusals import JobMissing
from launch_agent.runners.vertex.service import Service
from launch_agent.spec.model import RunIdentity, RunState, RunStatus

LONGEST_LOG = 1_000_000


class Host(Protocol):
    """What a run needs of its runner."""

    service: Service
    is_kept: bool

    def listing(self, agent: str) -> Listing: ...


class CustomJob:
    """A job that was created, or that an earlier agent has created.

    `name` is the API's (`projects/…/customJobs/<number>`); `since` is the time, by the listing's clock, from
    which on a listing that lacks the job means that it has ended.
    """

    def __init__(self, host: Host, *, name: str, title: str, identity: RunIdentity, since: float) -> None:
        self._host = host
        self._name = name
        self._title = title
        self._identity = identity
        self._since = since
        self._listing = host.listing(identity.agent)
        self._end: RunStatus | None = None
        self._cancelled = False

    @property
    def id(self) -> str:
        return self._title

    @property
    def identity(self) -> RunIdentity:
        return self._identity

    def status(self) -> RunStatus:
        if self._end is not None:
            return self._end
        begun, jobs = self._listing.read()
        if row := jobs.get(self._name):
            return self._stopping(states.status_of(row, is_cancelled=self._cancelled))
        if begun < self._since:
            return RunStatus(state=RunState.STOPPING if self._cancelled else RunState.PENDING)
        return self._look()

    def _look(self) -> RunStatus:
        """The job is not among the live ones: what became of it?"""
        try:
            found = self._host.service.get(f"ask for custom job {self._title}", self._name)
        except JobMissing:
            self._end = states.gone()
            return self._end
        seen = states.status_of(found, is_cancelled=self._cancelled)
        if seen.state.is_terminal:
            self._end = seen
            return seen
        return self._stopping(seen)

    def _stopping(self, seen: RunStatus) -> RunStatus:
        return RunStatus(state=RunState.STOPPING) if self._cancelled else seen

    def logs(self, tail: int) -> str:
        number = self._name.rpartition("/")[2]
        entries = self._host.service.log_entries(f"read the log of custom job {self._title}", number, tail)
        return "".join(f"{_text(entry)}\n" for entry in reversed(entries))[-LONGEST_LOG:]

    def cancel(self) -> None:
        if self._end is not None or self._cancelled:
            return
        try:
            self._host.service.cancel(f"cancel custom job {self._title}", self._name)
        except JobMissing:
            return
        self._cancelled = True

    def release(self) -> None:
        """Leave the job in the project's history, or delete it where the config says so."""
        if self._end is None:
            raise RunnerError(f"custom job {self._title} has not ended")
        if self._host.is_kept or self._end.reason == "JobDeleted":
            return
        try:
            self._host.service.delete(f"delete custom job {self._title}", self._name)
        except JobMissing:
            return


def _text(entry: Mapping[str, Any]) -> str:
    """What an entry says: a line as it was printed, or a structure's message."""
    if "textPayload" in entry:
        return str(entry["textPayload"]).rstrip("\n")
    payload = entry.get("jsonPayload") or entry.get("protoPayload") or {}
    return str(payload.get("message") or json.dumps(payload)).rstrip("\n")
