"""One build by a Job: the context goes into the store, the Job is made and followed, everything is removed.

Names derive from the content, so two agents that build the same meet in one Job, and so does an agent with
the Job of its own process that died. The Job owns its Secrets: they go when it goes, and it goes by itself
ten minutes after its end should nobody remove it.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
import threading
import time
import uuid
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launch_agent.builders import Parts
from launch_agent.builders.attempt import Attempt
from launch_agent.builders.jobs.claims import Claims, context_of, is_over
from launch_agent.builders.jobs.follow import End, Follower
from launch_agent.builders.jobs.manifest import Build
from launch_agent.builders.pushing import Pushing
from launch_agent.clients.kube import access
from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import KubeError
from launch_agent.errors import BuildError, LaunchError
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.stores import ContextStore

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 2.0
# The registry's credentials are good for five minutes at least, and a kubelet brings a Secret's new content
# within two.
_RENEW_SECONDS = 60.0
_MANAGER = "launch-agent"
# Contexts of builds that are long over: no build lasts that long.
_OLD_SECONDS = 24 * 3600.0
# How often it is looked whether what an earlier process left has ended.
_LEFT_SECONDS = 15.0
_GZIP = 16 + zlib.MAX_WBITS


class JobBuilder(Pushing, ABC):
    """Builds in the agent's own namespace. `connect` says how the cluster is reached. A kind says what runs
    in the Job (`compose`), and what its failures mean (`explain`)."""

    has_mounts = False
    # The name of the container that builds, and the config's key that names its image.
    container: str
    image_key: str

    def __init__(self, connect: Callable[[], KubeApi], parts: Parts) -> None:
        if parts.registry is None or parts.store is None:
            raise ValueError("a build by a Job needs a registry and a store")
        super().__init__(parts.registry)
        self._connect = connect
        self._agent = parts.agent
        self._store: ContextStore = parts.store
        self._environment = parts.environment
        self._lock = threading.Lock()
        self._api: KubeApi | None = None
        self._claims = Claims(self.api, parts.agent)
        # The Jobs that this process follows: one that is given up may be wanted again before it is left.
        self._followed: Counter[str] = Counter()
        self._closed = threading.Event()

    @abstractmethod
    def compose(self, context: BuildContext, ref: ImageRef, uri: str, key: str, namespace: str) -> Build:
        """The Job that builds a context, which lies at `uri`, the store's address for `key`."""

    @abstractmethod
    def explain(self, end: End, log: str) -> LaunchError:
        """The error of a build that ended badly, by its last words."""

    def verify(self) -> None:
        """Raise LaunchError where builds cannot be made: rights on the cluster, the store."""
        with _asking("look for the rights to build"):
            api = self.api()
            lacks = [
                f"{verb} {what}"
                for what, verbs in _RIGHTS.items()
                for verb in verbs
                if not api.can(verb, what.partition(":")[0], api.namespace, part=what.partition(":")[2])
            ]
        if lacks:
            raise BuildError(
                f"the agent's account may not build in namespace {self.api().namespace}: it lacks "
                f"{', '.join(lacks)}",
                hint="the chart's Role has these rights",
            )
        self._store.verify()

    def build(
        self, context: BuildContext, ref: ImageRef, *, log: Callable[[str], None], stop: threading.Event
    ) -> ImageRef:
        # The Job's own deadline is the cluster's to keep.
        attempt = Attempt(log=log, stop=stop, timeout=math.inf)
        # One for each build: agents that build the same do not remove each other's.
        key = f"{ref.tag}-{uuid.uuid4().hex[:12]}.tar.gz"
        # Whether a Job that others want reads the context that is stored here.
        is_lent = False
        try:
            with _asking(f"build {ref}"):
                uri = self._upload(context, key)
                lent = self._registry.credentials()
                build = self.compose(context, ref, uri, key, self.api().namespace)

                def renew() -> None:
                    nonlocal lent
                    if (fresh := self._registry.credentials()) != lent:
                        self._make_secrets(self.compose(context, ref, uri, key, self.api().namespace), job)
                        lent = fresh

                with self._following(build.name) as left:
                    job = self._claims.join(build, ref, key)
                    try:
                        self._make_secrets(build, job)
                        end = self._follow(build.name, job, attempt, stop, renew)
                    finally:
                        is_lent = not left(job) and context_of(job) == key
                return self._result(ref, end, attempt.tail)
        except BuildError as error:
            error.log = error.log or attempt.tail
            raise
        finally:
            if not is_lent:
                self._discard(key)

    def sweep(self) -> None:
        """Remove what an earlier process left: Jobs that have ended, at once, and contexts that nobody can
        want any more. A Job that goes on is there for the launch that asks for its image again; it is removed
        at its end where none does."""
        try:
            if self._remove_ended():
                threading.Thread(target=self._watch_left, name="builds-left", daemon=True).start()
            self._store.sweep(_OLD_SECONDS)
        except LaunchError as error:
            _log.warning("what earlier builds left could not be looked for: %s", error)

    def _remove_ended(self) -> bool:
        """Whether there are Jobs of an earlier process that go on."""
        go_on = False
        for job in self._claims.held():
            name = str(job["metadata"]["name"])
            if self._followed[name]:
                continue
            if is_over(job):
                self._leave(name, job)
            else:
                go_on = True
        return go_on

    def _watch_left(self) -> None:
        while not self._closed.wait(_LEFT_SECONDS):
            try:
                if not self._remove_ended():
                    return
            except LaunchError as error:
                _log.info("what earlier builds left cannot be looked at: %s", error)

    @contextmanager
    def _following(self, name: str) -> Iterator[Callable[[Mapping[str, Any]], bool]]:
        """Gives what leaves the Job, and says whether it is gone."""
        with self._lock:
            self._followed[name] += 1

        def left(job: Mapping[str, Any]) -> bool:
            with self._lock:
                is_last = self._followed[name] == 1
            return is_last and self._leave(name, job)

        try:
            yield left
        finally:
            with self._lock:
                self._followed[name] -= 1

    def _leave(self, name: str, job: Mapping[str, Any]) -> bool:
        """Whether the Job is gone, and its context with it: no other agent wants it."""
        key = self._claims.leave(name, str(job["metadata"]["uid"]))
        if key:
            self._discard(key)
        return key is not None

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            if self._api is not None:
                self._api.close()
                self._api = None

    def api(self) -> KubeApi:
        with self._lock:
            if self._api is None:
                self._api = self._connect()
            return self._api

    def packed(self, context: BuildContext) -> Iterable[bytes]:
        """The context as a tar archive, piece by piece."""
        if context.pack is None:
            raise BuildError("the build context cannot be packed")
        return context.pack()

    def _upload(self, context: BuildContext, key: str) -> str:
        with tempfile.NamedTemporaryFile(prefix="launch-agent-context-", suffix=".tar.gz") as archive:
            for piece in _gzipped(self.packed(context)):
                archive.write(piece)
            archive.flush()
            return self._store.put(Path(archive.name), key)

    def _make_secrets(self, build: Build, job: Mapping[str, Any]) -> None:
        api = self.api()
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": build.name,
            "uid": job["metadata"]["uid"],
        }
        for secret in build.secrets:
            owned = {**secret, "metadata": {**secret["metadata"], "ownerReferences": [owner]}}
            api.apply(api.resource("v1", "Secret"), api.namespace, owned, manager=_MANAGER)

    def _follow(
        self,
        name: str,
        job: Mapping[str, Any],
        attempt: Attempt,
        stop: threading.Event,
        renew: Callable[[], None],
    ) -> End | None:
        """The build's end; None where the Job is gone. A cluster that is away for a while is waited for.
        `renew` is called each minute, for what a mounted Secret holds."""
        api = self.api()
        follower = Follower(
            api,
            api.namespace,
            name,
            attempt.line,
            uid=str(job["metadata"]["uid"]),
            container=self.container,
            image_key=self.image_key,
        )
        jobs = api.resource("batch/v1", "Job")
        due = time.monotonic() + _RENEW_SECONDS
        while not stop.wait(_LOOK_SECONDS):
            if time.monotonic() > due:
                due = time.monotonic() + _RENEW_SECONDS
                _tolerated(renew)
            try:
                if (end := follower.look()) is not None:
                    return end
                found = api.find(jobs, api.namespace, name)
            except KubeError as error:
                if not error.retryable:
                    raise
                continue
            if found is None or found["metadata"]["uid"] != job["metadata"]["uid"]:
                return None
            if (failed := _failed(found)) is not None:
                return failed
        attempt.check()
        raise AssertionError("a build is followed until it ends or is stopped")

    def _result(self, ref: ImageRef, end: End | None, log: str) -> ImageRef:
        if end is not None and not end.is_good:
            raise self.explain(end, log)
        if end is not None and end.digest:
            return ImageRef(host=ref.host, path=ref.path, tag=ref.tag, digest=end.digest)
        if (found := self.find(ref)) is not None:
            return found
        if end is None:
            raise BuildError("the build's Job was deleted by someone else", retryable=True)
        raise BuildError(
            f"the build ended well, and {ref} is not in the registry",
            hint="does the config's partial Job switch pushing off?",
        )

    def _discard(self, key: str) -> None:
        try:
            self._store.delete(key)
        except LaunchError as error:
            _log.warning("the build context %s could not be removed: %s", key, error)


def connect() -> KubeApi:
    """To the cluster that the agent runs in, or else that of its kubeconfig."""
    environment = dict(os.environ)
    found = access.in_pod(environment) if access.is_pod(environment) else access.for_context("", environment)
    return KubeApi(found, qps=20, burst=40, timeout=30)


_RIGHTS: Mapping[str, Iterable[str]] = {
    "batch/jobs": ("create", "get", "list", "patch", "delete"),
    "/pods": ("list",),
    "/pods:log": ("get",),
    "/secrets": ("create", "patch"),
}


def _tolerated(renew: Callable[[], None]) -> None:
    """A cloud that is away for a moment ends no build: the credentials at hand may still do."""
    try:
        renew()
    except LaunchError as error:
        _log.warning("the credentials of a build cannot be renewed: %s", error)


def _failed(job: Mapping[str, Any]) -> End | None:
    """A Job that failed without a pod that tells why: its deadline, its quota, its Pod Security."""
    for condition in job.get("status", {}).get("conditions") or ():
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            return End(
                is_good=False,
                reason=str(condition.get("reason", "")),
                message=str(condition.get("message", "")),
            )
    return None


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    # Level 1: a context travels once, and mostly over a fast line.
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


@contextmanager
def _asking(doing: str) -> Iterator[None]:
    """Turn a client's error into BuildError."""
    try:
        yield
    except KubeError as error:
        raise BuildError(
            f"cannot {doing}: {error.message}", hint=error.hint, retryable=error.retryable
        ) from error
