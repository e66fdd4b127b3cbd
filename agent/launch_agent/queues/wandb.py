"""The queue's backend over its GraphQL protocol: the public one's, a self-hosted one's, and our own server's.

What differs between them is asked once at registration (`serverInfo.features`) and kept in `Backend`. Two
requests must be told apart when the network fails. A pop takes items off a queue, so one that may have
reached the server is never sent again: items whose answer was lost come back by their lease. An ack or a
report means the same when it is sent twice, so those are repeated for a while.
"""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from launch_agent.clients.http import ONCE, HttpClient, HttpSettings, Retry
from launch_agent.errors import QueueError, QueueUnavailable
from launch_agent.queues import (
    AgentStatus,
    Directive,
    ItemState,
    Popped,
    Registered,
    Registration,
    operations,
)
from launch_agent.queues.faults import OlderServer, error_of, shorten, words
from launch_agent.queues.files import FailureFiles
from launch_agent.queues.graphql import ROOTS_PER_DOCUMENT, GraphQL, Root, RootAnswer
from launch_agent.queues.registration import (
    BRIEF,
    ITEM_LIST,
    LONG_POLL,
    OUTCOMES,
    REQUEUE,
    Backend,
    introduce,
)
from launch_agent.queues.requeue import by_push
from launch_agent.spec.model import Lease, Notice, Outcome, RunIdentity
from launch_agent.spec.secret import Secret

log = logging.getLogger(__name__)

_PATIENT = Retry(attempts=12, budget=20.0)
# A connection that was refused never carried the pop, so this one repetition takes nothing twice.
_REFUSED_ONLY = Retry(attempts=2, budget=1.0, base=0.2, unsent_only=True)
# Reads take nothing, so a document that turns out too large costs one round trip and no more.
_RUNS_PER_PROJECT = 200
# The backend's pages show a message in one cell; causes stand at either end of a long one.
_LONGEST_MESSAGE = 2000


class WandbQueues:
    """A QueueClient. `environment` holds the proxy and CA variables, `hostname` is shown beside the agent."""

    def __init__(
        self,
        base_url: str,
        api_key: Secret,
        *,
        settings: HttpSettings | None = None,
        hostname: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        settings = settings or HttpSettings()
        self._http = HttpClient(settings, clock=clock, wall=wall, sleep=sleep, jitter=jitter)
        # Pops have a client of their own, so that ending a long poll leaves the reports of others whole.
        self._poll_http = HttpClient(settings, clock=clock, wall=wall, sleep=sleep, jitter=jitter)
        # An upload delays the report of a failure, and the reports behind it.
        hurried = replace(settings, connect_timeout=3.0, read_timeout=10.0)
        self._files_http = HttpClient(hurried, clock=clock, wall=wall, sleep=sleep, jitter=jitter)
        self._graphql = GraphQL(base_url, api_key, self._http, wall=wall)
        self._files = FailureFiles(GraphQL(base_url, api_key, self._files_http, wall=wall), self._files_http)
        self._hostname = hostname
        self._runs_per_project = _RUNS_PER_PROJECT
        self._backend: Backend | None = None

    # --- the agent ---------------------------------------------------------------------------------------

    def register(self, registration: Registration) -> Registered:
        """See QueueClient. Short retries only: how long to wait for a backend is the caller's decision."""
        self._backend = introduce(self._graphql, registration, self._hostname)
        return Registered(agent_id=self._backend.agent_id, entity=self._backend.entity)

    def heartbeat(self, status: AgentStatus) -> Directive:
        """See QueueClient. A backend that has forgotten the agent is introduced to it again."""
        backend = self._registered()
        variables = {"agentId": backend.agent_id, "agentStatus": status.value}
        told = self._graphql.execute("updateLaunchAgent", operations.UPDATE_AGENT, variables)
        if status is AgentStatus.KILLED:
            return Directive()
        answer = self._graphql.execute("LaunchAgent", operations.AGENT, {"agentId": backend.agent_id})
        agent = answer.of("launchAgent")
        if not isinstance(agent, Mapping) and all(fault.not_found for fault in answer.faults):
            log.warning("the backend no longer knows agent %s; registering again", backend.agent_id)
            self.register(backend.registration)
            return Directive()
        for fault in (*told.faults, *answer.faults):
            if not fault.older_server:
                raise error_of("updateLaunchAgent", fault.message)
        return Directive(stop=isinstance(agent, Mapping) and bool(agent.get("stopPolling")))

    def reports_outcomes(self) -> bool:
        """See QueueClient."""
        return self._has(OUTCOMES)

    def close(self) -> None:
        """End a long poll at once and refuse later pops. Reports still go through, on new connections, so
        that an agent can close before it drains. Closing again is harmless."""
        self._poll_http.close()
        self._http.release()
        self._files_http.release()

    # --- items -------------------------------------------------------------------------------------------

    def pop(self, queues: Sequence[str], limit: int, *, wait: float = 0.0) -> Popped:
        """See QueueClient. The first round asks each queue for one item, later ones fill the document."""
        open_queues = list(dict.fromkeys(queues))
        leases: list[Lease] = []
        errors: dict[str, str] = {}
        # Held, the request sees only its own queues: with room for fewer, the others would go unwatched.
        watches_all = len(open_queues) <= min(limit, ROOTS_PER_DOCUMENT)
        hold = math.ceil(wait) if watches_all and self._has(LONG_POLL) else 0
        held = False
        per_queue = 1
        while open_queues and len(leases) < limit:
            names = _one_round(open_queues, per_queue, limit - len(leases))
            try:
                found, faults, held_now = self._pop_round(names, hold)
            except QueueError as error:
                if not leases:
                    raise
                # What is leased already is handed on; the outage is told with it.
                errors |= dict.fromkeys(open_queues, error.message)
                break
            leases += found
            errors |= faults
            held, hold = held or held_now, 0
            # A queue that gave less than it was asked for is empty.
            asked, gave = Counter(names), Counter(lease.queue for lease in found)
            open_queues = [name for name in open_queues if gave[name] >= asked[name]]
            per_queue = ROOTS_PER_DOCUMENT if found else per_queue
        if not leases and errors and set(errors) == set(queues):
            raise error_of("popFromRunQueue", next(iter(errors.values())))
        return Popped(leases=tuple(leases), held=held, errors=errors)

    def ack(self, claims: Sequence[RunIdentity]) -> set[str]:
        """See QueueClient. An unconfirmed claim is looked up: its first answer may have been lost."""
        agent_id = self._registered().agent_id if self.reports_outcomes() else ""
        roots = [operations.ack(claim, agent_id) for claim in claims]
        answers = self._graphql.batch("mutation", "ackRunQueueItem", roots, retry=_PATIENT)
        ours: set[str] = set()
        unconfirmed: list[RunIdentity] = []
        for claim, answer in zip(claims, answers, strict=True):
            if _succeeded(answer):
                ours.add(claim.item_id)
            else:
                log.info(
                    "the claim of item %s was not confirmed: %s", claim.item_id, answer.fault or "refused"
                )
                unconfirmed.append(claim)
        return ours | self._claimed(unconfirmed)

    def is_claimed(self, claim: RunIdentity) -> bool:
        """See QueueClient."""
        return claim.item_id in self._claimed([claim])

    def warn(self, claim: RunIdentity, notice: Notice) -> None:
        """See QueueClient. A server that knows no warnings is left without."""
        root = operations.warn(claim.item_id, shorten(notice.message, _LONGEST_MESSAGE), notice.stage.value)
        try:
            self._report("updateRunQueueItemWarning", root, BRIEF)
        except OlderServer:
            log.debug("this backend takes no warnings: %s", notice.message)

    def finish(self, claim: RunIdentity, outcome: Outcome) -> None:
        """See QueueClient. Ends other than failures are told to servers that take them."""
        files: list[str] = []
        if outcome.failure is not None and outcome.failure.log:
            files = self._files.store(
                entity=claim.queue_entity,
                agent=claim.agent,
                item_id=claim.item_id,
                log_text=outcome.failure.log,
            )
        root = self._end(claim, outcome, files)
        if root is not None:
            self._report(root.field_name, root, _PATIENT)

    def finish_all(self, ends: Sequence[tuple[RunIdentity, Outcome]]) -> Sequence[QueueError | None]:
        """See QueueClient."""
        roots = [self._end(claim, outcome, []) for claim, outcome in ends]
        told = [root for root in roots if root is not None]
        answers = self._report_all(told[0].field_name, told) if told else iter(())
        return [None if root is None else next(answers) for root in roots]

    def requeue(
        self, claim: RunIdentity, spec: Mapping[str, Any] | None, *, most: int, again: bool = False
    ) -> str | None:
        """See QueueClient. Our server does it in one step, which may be repeated."""
        if not self._has(REQUEUE):
            return by_push(self._graphql, claim, spec, most=most, again=again)
        root = operations.requeue(claim.item_id, most)
        [answer] = self._graphql.batch("mutation", "requeueRunQueueItem", [root], retry=_PATIENT)
        if answer.fault:
            raise error_of("requeueRunQueueItem", answer.fault)
        if not _succeeded(answer):
            raise QueueError(f"item {claim.item_id} has ended, or was deleted, before it could be put back")
        successor = answer.value.get("runQueueItemId")
        return str(successor) if successor else None

    # --- runs --------------------------------------------------------------------------------------------

    def stop_requested(self, runs: Sequence[RunIdentity]) -> set[str]:
        """See QueueClient."""
        return {item for item, run in self._runs("RunStoppedStatus", runs, "stopped") if run.get("stopped")}

    def run_states(self, runs: Sequence[RunIdentity]) -> Mapping[str, str | None]:
        """See QueueClient. A run whose project could not be read is missing from the answer."""
        return {item: run.get("state") for item, run in self._runs("RunState", runs, "state")}

    # --- parts -------------------------------------------------------------------------------------------

    def _registered(self) -> Backend:
        if self._backend is None:
            raise QueueError("the agent is not registered with the backend yet")
        return self._backend

    def _has(self, feature: str) -> bool:
        return self._backend is not None and feature in self._backend.features

    def _pop_round(self, names: Sequence[str], hold: int) -> tuple[list[Lease], dict[str, str], bool]:
        """One document of pops: the leases, the queues that failed, and whether the request was held."""
        backend = self._registered()
        roots = [operations.pop(backend.entity, name, backend.agent_id) for name in names]
        answers = self._graphql.batch(
            "mutation",
            "popFromRunQueue",
            roots,
            retry=_REFUSED_ONLY,
            headers={"Prefer": f"wait={hold}"} if hold else None,
            hold=hold,
            http=self._poll_http,
        )
        leases: list[Lease] = []
        faults: dict[str, str] = {}
        held = False
        answered = 0
        try:
            for name, answer in zip(names, answers, strict=True):
                answered += 1
                held = held or "wait=" in answer.headers.get("preference-applied", "")
                if answer.fault:
                    faults[name] = answer.fault
                elif answer.value:
                    leases.append(_lease(answer.value, name, backend.entity))
        except QueueError as error:
            if not leases:
                raise
            faults |= dict.fromkeys(names[answered:], error.message)
        return leases, faults, held

    def _claimed(self, claims: Sequence[RunIdentity]) -> set[str]:
        with_agent = self._backend is not None and ITEM_LIST in self._backend.features
        roots = [operations.item(claim, with_agent=with_agent) for claim in claims]
        answers = self._graphql.batch("query", "GetRunQueueItem", roots, retry=BRIEF)
        found: set[str] = set()
        for claim, answer in zip(claims, answers, strict=True):
            if answer.fault and not answer.value:
                raise QueueUnavailable(f"item {claim.item_id} cannot be looked up: {answer.fault}")
            queue = (answer.value or {}).get("runQueue") or {}
            item = queue.get("runQueueItem") or {}
            claimed = str(item.get("state", "")).upper() == ItemState.CLAIMED
            # Where a spec names its run, two agents that both held the item differ by their names alone.
            ours = not with_agent or (item.get("agent") or {}).get("name") == claim.agent
            if claimed and ours and item.get("associatedRunId") == claim.run_id:
                found.add(claim.item_id)
        return found

    def _end(self, claim: RunIdentity, outcome: Outcome, files: list[str]) -> Root | None:
        """What tells an end; None where the backend takes no such ends."""
        failure = outcome.failure
        message = shorten(str(failure), _LONGEST_MESSAGE) if failure is not None else ""
        stage = failure.stage.value if failure is not None else ""
        if self.reports_outcomes():
            return operations.finish(claim.item_id, outcome.state.value, message, stage, files)
        return operations.fail(claim.item_id, message, stage, files) if failure is not None else None

    def _report_all(self, operation: str, roots: Sequence[Root]) -> Iterator[QueueError | None]:
        """What came of each; where a document cannot be sent, the rest has its error."""
        answered = 0
        try:
            for answer in self._graphql.batch("mutation", operation, roots, retry=_PATIENT):
                answered += 1
                yield error_of(operation, answer.fault) if answer.fault else None
        except QueueError as error:
            yield from [error] * (len(roots) - answered)

    def _report(self, operation: str, root: Root, retry: Retry) -> None:
        for answer in self._graphql.batch("mutation", operation, [root], retry=retry):
            if answer.fault:
                raise error_of(operation, answer.fault)
            if not _succeeded(answer):
                # A report that comes second, or for an item that is gone: there is nothing left to tell.
                log.info("%s: the backend took no note of it", operation)

    def _runs(
        self, operation: str, runs: Sequence[RunIdentity], want: str
    ) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Each run's own fields by item id; empty fields where the run has not reported itself."""
        groups: dict[tuple[str, str], list[RunIdentity]] = {}
        for run in runs:
            groups.setdefault((run.entity, run.project), []).append(run)
        size = self._runs_per_project
        chunks = [
            members[start : start + size]
            for members in groups.values()
            for start in range(0, len(members), size)
        ]
        roots = [
            operations.runs(chunk[0].entity, chunk[0].project, [run.run_id for run in chunk], want)
            for chunk in chunks
        ]
        answers = self._graphql.batch("query", operation, roots, retry=ONCE)
        failed = 0
        for chunk, answer in zip(chunks, answers, strict=True):
            if answer.fault:
                failed += 1
                if failed == len(chunks):
                    raise QueueUnavailable(f"{words(operation)}: the backend failed: {answer.fault}")
                log.warning("%s of project %s: %s", operation, chunk[0].project, answer.fault)
                continue
            project = answer.value or {}
            for position, run in enumerate(chunk):
                yield run.item_id, project.get(f"x{position}") or {}


def _one_round(queues: Sequence[str], per_queue: int, room: int) -> list[str]:
    """Queue names for one document: in turn (a b c a b c …), so that each gets its share of the room."""
    most = min(room, ROOTS_PER_DOCUMENT, per_queue * len(queues))
    return [queues[n % len(queues)] for n in range(most)]


def _succeeded(answer: RootAnswer) -> bool:
    return isinstance(answer.value, Mapping) and answer.value.get("success") is True


def _lease(value: Mapping[str, Any], queue: str, entity: str) -> Lease:
    """A popped item. A spec that is no JSON object becomes an empty one, which validation then refuses: the
    item must fail with a reason, or it would come back every minute for ever."""
    spec = value.get("runSpec")
    if isinstance(spec, str):
        try:
            spec = json.loads(spec)
        except (ValueError, RecursionError):
            log.warning("the run spec of item %s is not JSON", value["runQueueItemId"])
    return Lease(
        item_id=str(value["runQueueItemId"]),
        queue=queue,
        entity=entity,
        spec=spec if isinstance(spec, Mapping) else {},
    )
