"""Gives the job of a preempted run back to its queue, once, whatever happens meanwhile.

Our own server does that in one step that may be repeated. Elsewhere it is a push, which may not: so that a
start after a crash knows whether one was under way, it is noted in the state folder first. An agent whose
folder went with its pod has no such note, and no record of the spec either; the backend then has to tell the
spec, and where it does not the item fails and says so. Left is the moment between the answer to a push and
the removal of the run's object, in which a pod that dies with its folder leads to a second run.
"""

from __future__ import annotations

from launch_agent.control.journal import Journal
from launch_agent.queues import QueueClient
from launch_agent.spec.model import RunIdentity

# As often as the official agent does; a job that is preempted each time would go round for ever.
MOST_RESUMES = 5


class Preemption:
    """Puts jobs back. Use `put_back` for one run at a time."""

    def __init__(self, queues: QueueClient, journal: Journal) -> None:
        self._queues = queues
        self._journal = journal
        self._begun: set[str] = set()

    def put_back(self, identity: RunIdentity) -> str | None:
        """The item that takes up the job; None where it was put back often enough. Raises QueueUnavailable
        where another try makes sense, another QueueError where none does."""
        item = identity.item_id
        noted_before = self._journal.note_requeue(item) and item not in self._begun
        self._begun.add(item)
        successor = self._queues.requeue(
            identity, self._journal.spec_of(item), most=MOST_RESUMES, again=noted_before
        )
        self._begun.discard(item)
        return successor
