"""Who wants a build: its Job lives for as long as an agent does, and a new process finds that of the old.

A Job says in an annotation for each agent that it wants the image, and where its build context lies. Who
turns away takes its own word back; the last one removes Job and context. Changes are made on the version that
was read, so no two agents can both take the other for the last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from launch_agent.builders.jobs.manifest import BUILD_OF, IMAGE, Build
from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from launch_agent.errors import BuildError
from launch_agent.spec.identity import PREFIX, agent_key
from launch_agent.spec.image import ImageRef

_log = logging.getLogger(__name__)
# On the Job: with an agent's key who wants the image; its context's key in the store; that it is removed.
WANTED_BY = f"{PREFIX}wanted-by."
_CONTEXT = f"{PREFIX}context"
_ENDING = f"{PREFIX}ending"
# The cluster changes a Job a few times in its life, and another agent once.
_TRIES = 10


class Claims:
    """The claims of one agent. `api` connects to the cluster at its first use."""

    def __init__(self, api: Callable[[], KubeApi], agent: str) -> None:
        self._api = api
        self._own = f"{WANTED_BY}{agent_key(agent)}"

    def join(self, build: Build, ref: ImageRef, key: str) -> Mapping[str, Any]:
        """The build's Job, made or found, which this agent wants from now on. `key` is that of the context
        that it reads if it is made. Raises BuildError where there is
        one that builds something else, or is being removed; KubeError."""
        api = self._api()
        jobs = api.resource("batch/v1", "Job")
        try:
            return api.create(jobs, api.namespace, self._marked(build.job, key))
        except AlreadyExists:
            pass
        found = api.find(jobs, api.namespace, build.name)
        if found is not None and _annotations(found).get(IMAGE) != str(ref):
            raise BuildError(
                f"there is already a Job {build.name}, and it does not build {ref}",
                hint="delete that Job, or choose another builder.build-job-name",
            )
        if found is not None:
            uid = found["metadata"]["uid"]
            change = {"metadata": {"uid": uid, "annotations": {self._own: "true"}}}
            try:
                joined: Mapping[str, Any] = api.patch(jobs, api.namespace, build.name, change)
            except (NotFound, Conflict):
                joined = {"metadata": {"annotations": {_ENDING: "true"}}}
            if _ENDING not in _annotations(joined) and "deletionTimestamp" not in joined["metadata"]:
                _log.info("build %s is under way already", build.name)
                return joined
        raise BuildError("another build of the same content has just ended", retryable=True)

    def leave(self, name: str, uid: str) -> str | None:
        """Take this agent's word back. The last one deletes the Job with its pod and Secrets, and gets the
        key of its context; None where others want it. One that cannot be deleted goes by its time to live."""
        try:
            return self._leave(name, uid)
        except KubeError as error:
            _log.warning("the Job %s of a build could not be removed: %s", name, error)
            return None

    def _leave(self, name: str, uid: str) -> str | None:
        api = self._api()
        jobs = api.resource("batch/v1", "Job")
        for _ in range(_TRIES):
            job = api.find(jobs, api.namespace, name)
            if job is None or job["metadata"]["uid"] != uid:
                return ""
            told = _annotations(job)
            others = any(key.startswith(WANTED_BY) and key != self._own for key in told)
            words = {self._own: None} if others else {self._own: None, _ENDING: "true"}
            meta = {"uid": uid, "resourceVersion": job["metadata"]["resourceVersion"], "annotations": words}
            try:
                api.patch(jobs, api.namespace, name, {"metadata": meta})
                if others:
                    return None
                api.delete(jobs, api.namespace, name, uid=uid)
            except Conflict:
                continue
            except NotFound:
                pass
            return told.get(_CONTEXT, "")
        _log.warning("the Job %s of a build changes all the time; it is left to its time to live", name)
        return None

    def _marked(self, job: Mapping[str, Any], key: str) -> dict[str, Any]:
        marks = {**_annotations(job), _CONTEXT: key, self._own: "true"}
        return {**job, "metadata": {**job["metadata"], "annotations": marks}}

    def held(self) -> Iterator[Mapping[str, Any]]:
        """The Jobs in the namespace that this agent wants, or did when its process was another."""
        api = self._api()
        found = api.list(api.resource("batch/v1", "Job"), api.namespace, labels=BUILD_OF).items
        return (job for job in found if self._own in _annotations(job))


def is_over(job: Mapping[str, Any]) -> bool:
    """Whether a Job has ended, well or not."""
    return any(
        each.get("type") in ("Complete", "Failed") and each.get("status") == "True"
        for each in job.get("status", {}).get("conditions") or ()
    )


def context_of(job: Mapping[str, Any]) -> str:
    """The key of the context that a Job reads."""
    return _annotations(job).get(_CONTEXT, "")


def _annotations(job: Mapping[str, Any]) -> Mapping[str, str]:
    return job["metadata"].get("annotations") or {}
