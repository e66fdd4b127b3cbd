"""A build's pod: what it prints, what keeps it from starting, and how it ended.

The agent may list pods and read their logs, no more; both are asked for every two seconds, which for a build
of minutes is little. Of the log only what is new is asked for: the server knows seconds, and the rest is told
by the lines' own times.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import KubeError, NotFound
from launch_agent.errors import BuildError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Reasons of a waiting container that do not pass by themselves, and for how many seconds they may yet.
_HOPELESS = {
    "ErrImagePull": 60.0,
    "ImagePullBackOff": 60.0,
    "InvalidImageName": 0.0,
    "CreateContainerConfigError": 60.0,
    "CreateContainerError": 60.0,
    "RunContainerError": 60.0,
}
# Of one look.
_LONGEST_LOG = 8_000_000
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a build's pod ended: `digest` is empty where it did not tell one."""

    is_good: bool
    digest: str = ""
    reason: str = ""
    message: str = ""
    exit_code: int | None = None


class Follower:
    """Follows the pod of one build, whose Job is `job` with this `uid`. `line` is called with each line that
    its container `container` prints; `image_key` is the config's key that names that container's image."""

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        job: str,
        line: Callable[[str], None],
        *,
        uid: str,
        container: str,
        image_key: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._job = job
        self._line = line
        self._uid = uid
        self._container = container
        self._image_key = image_key
        self._clock = clock
        # The time of the last line that was told, and how many of that time were.
        self._last, self._told = "", 0
        self._said: set[str] = set()
        self._waiting: tuple[str, float] = ("", 0.0)

    def look(self) -> End | None:
        """One look at the pod; its end once it has come to one. Raises BuildError where it never will start,
        KubeError where the cluster cannot be asked."""
        pods = self._api.list(
            self._api.resource("v1", "Pod"),
            self._namespace,
            labels=f"batch.kubernetes.io/job-name={self._job}",
        ).items
        if not pods:
            self._check_refused()
            return None
        pod = max(pods, key=lambda each: str(each["metadata"].get("creationTimestamp", "")))
        status = self._status(pod)
        state = status.get("state") or {}
        if "running" in state or "terminated" in state:
            self._read(pod["metadata"]["name"], ended="terminated" in state)
        if ended := state.get("terminated"):
            return _end(ended)
        phase = pod.get("status", {}).get("phase")
        if phase in ("Failed", "Succeeded"):
            if (before := _ended_before(pod)) is not None:
                return _end(before)
            said = pod["status"]
            return End(
                is_good=phase == "Succeeded", reason=said.get("reason", ""), message=said.get("message", "")
            )
        self._check_waiting(pod, state.get("waiting") or {})
        return None

    def _read(self, pod: str, *, ended: bool) -> None:
        """Tell the lines that are new, and whole unless the container has ended."""
        try:
            text = self._api.log(
                self._namespace,
                pod,
                container=self._container,
                since=self._last,
                stamped=True,
                longest=_LONGEST_LOG,
            )
        except NotFound:
            return
        except KubeError as error:
            if not error.retryable and error.status != 400:  # 400: the container has not begun
                raise
            return
        lines = text.split("\n")
        if not ended or not lines[-1]:
            del lines[-1:]
        self._tell(lines)

    def _tell(self, lines: Sequence[str]) -> None:
        """Tell those of the lines that are new."""
        again = self._told
        for line in lines:
            stamp, _, words = line.partition(" ")
            # The first line of a log of which only the end was read may have lost its time.
            if not _STAMP.fullmatch(stamp) or stamp < self._last:
                continue
            if stamp == self._last and again > 0:
                again -= 1
                continue
            if stamp != self._last:
                self._last, self._told, again = stamp, 0, 0
            self._told += 1
            for part in words.splitlines() or [""]:
                self._line(part)

    def _status(self, pod: Mapping[str, Any]) -> Mapping[str, Any]:
        for status in pod.get("status", {}).get("containerStatuses") or ():
            if status.get("name") == self._container:
                found: Mapping[str, Any] = status
                return found
        return {}

    def _check_refused(self) -> None:
        """A Job whose pod nobody may make says so in events only, and tries for as long as it lives."""
        try:
            events = self._api.list(
                self._api.resource("v1", "Event"),
                self._namespace,
                fields=f"involvedObject.uid={self._uid},reason=FailedCreate",
            ).items
        except KubeError as error:
            if not error.retryable and error.status != 403:
                raise
            return
        for event in events:
            message = str(event.get("message", ""))
            if message in self._said:
                continue
            self._said.add(message)
            self._line(f"the build's pod cannot be made: {message}")
            if "violates PodSecurity" in message:
                raise BuildError(
                    f"the namespace {self._namespace} does not admit the build's pod: {message}",
                    hint="see docs/jobs-from-code.md for what the builder needs; kaniko and layers need less",
                )

    def _check_waiting(self, pod: Mapping[str, Any], waiting: Mapping[str, Any]) -> None:
        reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
        for condition in pod.get("status", {}).get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                reason, message = "Unschedulable", str(condition.get("message", ""))
        now = self._clock()
        if reason != self._waiting[0] and not {reason, self._waiting[0]} <= {
            "ErrImagePull",
            "ImagePullBackOff",
        }:
            self._waiting = (reason, now)
        if message and message not in self._said:
            self._said.add(message)
            self._line(f"the build's pod waits: {reason}: {message}")
        allowed = _HOPELESS.get(reason)
        if allowed is not None and now - self._waiting[1] >= allowed:
            raise BuildError(
                f"the build's pod cannot start: {reason}: {message}",
                hint=f"{self._image_key} must name an image that the cluster can pull"
                if "mage" in reason
                else "the Secrets, claims and accounts that the build names must be there",
            )


def ended_by_the_cluster(end: End, text: str, *, overlay_key: str) -> BuildError | None:
    """The error of a build that did not fail by itself; None of one that did. `text` says that it failed,
    `overlay_key` is the config's key of the partial Job."""
    if end.reason == "OOMKilled" or end.exit_code == 137:
        return BuildError(
            f"{text}: it used more memory than it may",
            hint=f"give it more by {overlay_key} (spec.template.spec.containers[0].resources)",
        )
    if end.reason == "DeadlineExceeded":
        return BuildError("the build took longer than it may", hint="builder.build-timeout sets the time")
    return None


def _ended_before(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How a container ended badly that was to run before the one that builds."""
    for status in pod.get("status", {}).get("initContainerStatuses") or ():
        ended: Mapping[str, Any] | None = (status.get("state") or {}).get("terminated")
        if ended is not None and ended.get("exitCode"):
            return ended
    return None


def _end(ended: Mapping[str, Any]) -> End:
    message = str(ended.get("message", ""))
    code = int(ended.get("exitCode", 1))
    found = _DIGEST.search(message) if code == 0 else None
    return End(
        is_good=code == 0,
        digest=found[0] if found else "",
        reason=str(ended.get("reason", "")),
        message=message,
        exit_code=code,
    )
