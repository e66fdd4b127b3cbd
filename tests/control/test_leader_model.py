"""Whatever requests and candidates do, two candidates never work at the same time.

Requests are held up, lost before or after the server acts, or reach it long after their sender gave up;
candidates are slow, are killed and come back; their clocks differ in what they show and, a little, in speed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from launch_agent.clients.kube_lease import Conflict, Record
from launch_agent.control.leader import Election, Terms
from launch_agent.errors import LaunchError
from tests.fakes.memory_lease import MemoryLease

TERMS = Terms(15.0)
CANDIDATES = 3


class Gone(BaseException):
    """The candidate's process is dead."""


@dataclass
class Request:
    """On its way; `answer` is what the server made of it, once it did."""

    act: Callable[[], Record | None]
    answer: Callable[[], Record | None] | None = None

    def reach(self) -> None:
        try:
            record = self.act()
        except Conflict:
            self.answer = _conflict
        else:
            self.answer = lambda: record


def _conflict() -> Record | None:
    raise Conflict


def _nothing() -> Record | None:
    raise LaunchError("no answer", retryable=True)


def _gone() -> Record | None:
    raise Gone


@dataclass
class Candidate:
    """One elector on a thread that runs only while the test waits for it: until it sends or has finished."""

    server: MemoryLease
    me: str
    clock: Callable[[], float]
    place: str = "wandb/launch-agent"
    request: Request | None = None
    released: bool = False
    failed: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.election = Election(self, self.me, TERMS, clock=self.clock)
        self._turn = threading.Semaphore(0)
        self._parked = threading.Semaphore(0)
        self._resume: Callable[[], Record | None] = _gone
        self._thread: threading.Thread | None = None

    def read(self) -> Record | None:
        return self._send(self.server.read)

    def write(self, record: Record) -> Record:
        written = self._send(lambda: self.server.write(record))
        assert written is not None
        return written

    def begin(self, work: Callable[[], object]) -> None:
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._wait()

    def go_on(self, answer: Callable[[], Record | None]) -> None:
        self.request = None
        self._resume = answer
        self._turn.release()
        self._wait()

    def end(self) -> None:
        if self.request is not None:
            self.go_on(_gone)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (LaunchError, Gone):
            pass
        except BaseException as error:  # noqa: BLE001 - to be raised where the test runs
            self.failed.append(error)
        finally:
            self._parked.release()

    def _send(self, act: Callable[[], Record | None]) -> Record | None:
        self.request = Request(act)
        self._parked.release()
        self._turn.acquire()
        return self._resume()

    def _wait(self) -> None:
        assert self._parked.acquire(timeout=30)
        if self.request is None and self._thread is not None:
            self._thread.join(30)
        assert not self.failed, self.failed


# Those of the terms, a bit more or less, and any.
TIMES = st.one_of(st.sampled_from([0.5, 1.0, 5.0, 9.9, 10.0, 14.9, 15.0]), st.floats(0.01, 16))
WHO = st.integers(0, CANDIDATES - 1)


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.server = MemoryLease()
        self.late: list[Request] = []
        self.count = 0
        self.candidates = [self.candidate(f"agent-{number}", 0, 1.0) for number in range(CANDIDATES)]

    def candidate(self, me: str, offset: float, speed: float) -> Candidate:
        return Candidate(self.server, me, lambda: offset + speed * self.now)

    @rule(seconds=TIMES)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(order=st.permutations(range(CANDIDATES)), awake=st.integers(1, CANDIDATES), seconds=TIMES)
    def some_go_on_undisturbed(self, order: list[int], awake: int, seconds: float) -> None:
        for who in order[:awake]:
            self.a_step_is_quick(who)
        self.now += seconds

    @rule(who=WHO)
    def a_step_begins(self, who: int) -> None:
        candidate = self.candidates[who]
        if candidate.request is None and not candidate.released:
            candidate.begin(candidate.election.step)

    @rule(who=WHO)
    def a_step_is_quick(self, who: int) -> None:
        """From its beginning to its end nothing else happens."""
        self.a_step_begins(who)
        candidate = self.candidates[who]
        while candidate.request is not None:
            self.a_request_arrives(who)
            self.an_answer_arrives(who)

    @rule(who=WHO)
    def a_request_arrives(self, who: int) -> None:
        request = self.candidates[who].request
        if request is not None and request.answer is None:
            request.reach()

    @rule(who=WHO)
    def an_answer_arrives(self, who: int) -> None:
        request = self.candidates[who].request
        if request is not None and request.answer is not None:
            self.candidates[who].go_on(request.answer)

    @rule(who=WHO)
    def an_answer_is_lost(self, who: int) -> None:
        request = self.candidates[who].request
        if request is not None:
            if request.answer is None:
                self.late.append(request)
            self.candidates[who].go_on(_nothing)

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def a_request_arrives_late(self, data: st.DataObject) -> None:
        self.late.pop(data.draw(st.integers(0, len(self.late) - 1))).reach()

    @rule(who=WHO)
    def a_candidate_ends_well(self, who: int) -> None:
        candidate = self.candidates[who]
        if candidate.request is None and not candidate.released:
            candidate.released = True
            candidate.begin(candidate.election.release)

    @rule(who=WHO, offset=st.floats(-1e6, 1e6), speed=st.floats(0.9, 1.1), is_new=st.booleans())
    def a_candidate_is_killed_and_replaced(self, who: int, offset: float, speed: float, is_new: bool) -> None:
        dead = self.candidates[who]
        if dead.request is not None and dead.request.answer is None:
            self.late.append(dead.request)
        dead.end()
        self.count += 1
        me = f"agent-{who}-{self.count}" if is_new else dead.me
        self.candidates[who] = self.candidate(me, offset, speed)

    @invariant()
    def at_most_one_works(self) -> None:
        working = [candidate.me for candidate in self.candidates if candidate.election.leads()]
        assert len(working) <= 1

    def teardown(self) -> None:
        for candidate in self.candidates:
            candidate.end()


TestNeverTwo = pytest.mark.timeout(300)(Cluster.TestCase)
TestNeverTwo.settings = settings(
    deadline=None, max_examples=4 * settings().max_examples, stateful_step_count=60
)
