"""Which of several agents of one name works: the one that holds a Lease; the others stand by.

A holder renews the Lease every third of its duration and may work for two thirds of it after it asked for the
last renewal that was granted. The others take the Lease when they have seen no change of it for its whole
duration. Both measure by their own monotonic clocks, so clocks may show any time as long as they run at
about the same speed; the last third is room for a process to end in.

Whoever may not work any more ends its process (`lost`): a thread that is in the middle of a launch cannot be
stopped otherwise. Its runs are left, and the next holder adopts them, which finds in the Lease where to look.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from launch_agent.clients.kube_lease import Conflict, Record
from launch_agent.errors import LaunchError

_log = logging.getLogger(__name__)


class Lead(Protocol):
    """What the rest of the agent knows of this: whether it may work."""

    def acquire(self, cancelled: threading.Event) -> bool:
        """Return True once this agent may work, False where `cancelled` was set before."""

    def fence(self) -> None:
        """Return only if this agent may work. Called before whatever another agent would do as well."""

    def resources(self) -> frozenset[str]:
        """The target resources on which earlier holders may have left runs."""

    def remember(self, resource: str) -> None:
        """Have the next holder look for runs there. Raises LaunchError where that is not sure yet."""

    def standing_by(self) -> tuple[bool, str] | None:
        """Readiness, and why, of an agent that waits; None of one that works."""

    def release(self) -> None:
        """Let another agent work from now on."""


class Alone:
    """The lead of an agent that shares its name with no other."""

    def acquire(self, cancelled: threading.Event) -> bool:
        return True

    def fence(self) -> None: ...

    def resources(self) -> frozenset[str]:
        return frozenset()

    def remember(self, resource: str) -> None: ...

    def standing_by(self) -> None: ...

    def release(self) -> None: ...


ALONE: Lead = Alone()


class Lease(Protocol):
    """See `clients.kube_lease.KubeLease`."""

    place: str

    def read(self) -> Record | None: ...

    def write(self, record: Record) -> Record: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """The times of an election, in seconds. Kubernetes's own components have a duration of 15, too."""

    duration: float

    @property
    def renew(self) -> float:
        """Between two renewals."""
        return self.duration / 3

    @property
    def deadline(self) -> float:
        """For how long a renewal lets its holder work."""
        return self.duration * 2 / 3

    @property
    def look(self) -> float:
        """Between two looks of one who waits, and before a renewal that failed is tried again."""
        return self.duration / 15

    @property
    def timeout(self) -> float:
        """For a request: short enough that one which hangs leaves time for another before the deadline."""
        return self.duration / 6


class Election:
    """One candidate. `me` names it among the others, and must be used by one living process only.

    Holds no thread: `step` is to be called when its last result says so, by one thread at a time.
    """

    def __init__(
        self, lease: Lease, me: str, terms: Terms, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lease = lease
        self.me = me
        self.terms = terms
        self.until = float("-inf")
        self._clock = clock
        self._seen: Record | None = None
        # When the Lease was seen to change, and for how long after that it must be left alone.
        self._seen_at = float("-inf")
        self._promise = 0.0
        self._is_stale = True
        self._mine: frozenset[str] = frozenset()

    @property
    def holder(self) -> str:
        """Who held the Lease when it was seen last; empty for nobody."""
        return self._seen.holder if self._seen else ""

    @property
    def resources(self) -> frozenset[str]:
        """What the Lease said of target resources when it was seen last."""
        return self._seen.resources if self._seen else frozenset()

    def leads(self) -> bool:
        """Whether this candidate may work now."""
        return self._clock() < self.until

    def add(self, resource: str) -> None:
        """Have the coming writes name a target resource."""
        self._mine |= {resource}

    def step(self) -> float:
        """Look at the Lease, take or renew it where that is possible; returns the seconds to the next step.

        Raises LaunchError where the Lease cannot be read or written.
        """
        if self._is_stale or self.holder != self.me:
            self._look()
        now = self._clock()
        if now < self._seen_at + self._promise:
            return min(self.terms.look, self._seen_at + self._promise - now)
        try:
            self._write(self._claim())
        except Conflict:
            return 0.0  # the look that comes next says who was quicker
        self.until = now + self.terms.deadline
        return self.terms.renew

    def release(self) -> None:
        """Give the Lease back, if it is ours. Raises LaunchError."""
        self.until = float("-inf")
        if self._is_stale:
            self._look()
        if self._seen is not None and self.holder == self.me:
            seen = self._seen
            try:
                self._write(
                    Record(
                        holder="",
                        duration=1,
                        transitions=seen.transitions,
                        resources=seen.resources,
                        version=seen.version,
                        rest=seen.rest,
                    )
                )
            except Conflict:
                self._look()

    def _claim(self) -> Record:
        seen = self._seen or Record(holder="", duration=0)
        is_mine = seen.holder == self.me
        return Record(
            holder=self.me,
            duration=self.terms.duration,
            transitions=seen.transitions + (not is_mine and bool(seen.version)),
            acquired=seen.acquired if is_mine else "",
            resources=seen.resources | self._mine,
            version=seen.version,
            rest=seen.rest,
        )

    def _write(self, record: Record) -> None:
        self._is_stale = True  # until an answer says what the Lease is now
        self._note(self.lease.write(record))

    def _look(self) -> None:
        self._note(self.lease.read())
        if self.holder not in ("", self.me):
            self.until = float("-inf")

    def _note(self, record: Record | None) -> None:
        """Keep what the Lease is. The time is taken after the answer, so never before the change it shows."""
        self._is_stale = False
        before, after = (each.version if each else "" for each in (self._seen, record))
        if before != after:
            self._seen_at = self._clock()
        self._seen = record
        # Whoever held a Lease that somebody has deleted may still believe that it does.
        if record is not None:
            is_free = record.holder in ("", self.me)
            self._promise = 0.0 if is_free else record.duration or self.terms.duration


class Leadership:
    """An election on threads of its own. `lost` ends the process, and may be called from any thread."""

    def __init__(self, election: Election, *, lost: Callable[[str], object]) -> None:
        self._election = election
        self._lost = lost
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._waits = True
        self._problem = ""

    def acquire(self, cancelled: threading.Event) -> bool:
        said = ""
        while not cancelled.is_set():
            pause = self._step()
            if self._election.leads():
                break
            holder = self._election.holder
            if holder and holder != said:
                _log.info("standing by: the lease %s is held by %s", self._election.lease.place, holder)
                said = holder
            cancelled.wait(pause)
        else:
            return False
        _log.info("the lease %s is held by this agent, %s", self._election.lease.place, self._election.me)
        self._waits = False
        for work in (self._renew, self._watch):
            threading.Thread(target=work, name=f"lease-{work.__name__.strip('_')}", daemon=True).start()
        return True

    def fence(self) -> None:
        if not self._election.leads():
            self._give_up()
            raise _lost()

    def resources(self) -> frozenset[str]:
        return self._election.resources

    def remember(self, resource: str) -> None:
        with self._lock:
            self._election.add(resource)
            while resource not in self._election.resources:
                self._election.step()
                if not self._election.leads():
                    raise _lost()

    def standing_by(self) -> tuple[bool, str] | None:
        if not self._waits:
            return None
        return not self._problem, self._problem or "standing by"

    def release(self) -> None:
        self._ended.set()
        if self._waits and self._election.holder != self._election.me:
            return
        with self._lock:
            try:
                self._election.release()
            except LaunchError as error:
                _log.warning("another agent has to wait for the end of the lease: %s", error)

    def _step(self) -> float:
        """A step, and the seconds until the next, whatever comes of it."""
        try:
            with self._lock:
                pause = self._election.step()
        except LaunchError as error:
            if error.message != self._problem:
                _log.warning("%s", error)
            self._problem = error.message
            return self._election.terms.look
        self._problem = ""
        return pause

    def _renew(self) -> None:
        pause = self._election.terms.renew
        while not self._ended.wait(pause):
            pause = self._step()
            if not self._election.leads():
                self._give_up()
                return

    def _watch(self) -> None:
        """End in time, even while a request that is to renew the lease hangs."""
        while self._election.leads():
            if self._ended.wait(self._election.terms.look / 2):
                return
        self._give_up()

    def _give_up(self) -> None:
        if self._ended.is_set():
            return
        holder = self._election.holder
        is_other = holder not in ("", self._election.me)
        why = f"{holder} holds it" if is_other else self._problem or "it was not renewed in time"
        self._lost(f"the lease {self._election.lease.place} is lost: {why}")


def _lost() -> LaunchError:
    return LaunchError("the agent does not hold its lease any more", retryable=True)


def holder_name(state: Path, host: str) -> str:
    """A name for this agent among those of its name, the same after a restart with the same state folder.

    So a container that is restarted goes on at once, with what its journal holds. The caller holds the
    folder's lock: no other process uses the name. Raises LaunchError where the folder cannot be used.
    """
    file = state / "holder"
    try:
        if not file.exists():
            draft = file.with_suffix(".draft")
            draft.write_text(f"{host}_{uuid.uuid4()}", encoding="utf-8")
            draft.replace(file)
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(f"the agent's name for its lease cannot be kept in {file}: {error}") from error
