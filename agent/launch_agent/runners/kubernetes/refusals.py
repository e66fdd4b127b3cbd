"""What the API server's refusals mean for a run: its own fault, or something that passes.

A launch that fails for a reason that passes is tried again by the agent, for as long as a start may take;
the others end the queue item with what is wrong and what to change. Quotas are of the first sort: what used
them up ends some day, and a launch that waits keeps its slot, so that no more are taken meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from launch_agent.clients.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    NotFound,
    Unavailable,
)
from launch_agent.errors import RightMissing, RunnerError, SubmitRejected

_QUOTA = "exceeded quota"
# How the authorizer says no; admission, which refuses the run itself, has the same status and other words.
_NO_RIGHT = re.compile(r'cannot \w+ resource "')
_TERMINATING = "because it is being terminated"
_NO_NAMESPACE = re.compile(r'namespaces? "([^"]+)" not found')
_WEBHOOK = re.compile(r'admission webhook "([^"]+)" denied the request')
# The chart's values that make the agent's Role longer.
_CHART_HINT = (
    "the Role of the agent's service account must allow it; with the chart, set rbac.customResources for "
    "custom resources and additionalTargetNamespaces for namespaces"
)


@contextmanager
def asking(action: str) -> Iterator[None]:
    """Turn a client's error into RunnerError. `action` is what is being done, to what: `read Job a/b`."""
    try:
        yield
    except KubeError as error:
        raise RunnerError(
            f"cannot {action}: {error.message}", hint=error.hint or hint_for(error), retryable=error.retryable
        ) from error


@contextmanager
def submitting(what: str, namespace: str) -> Iterator[None]:
    """Turn a client's error into what it means for a submission of `what` (`Job a/b`)."""
    try:
        yield
    except KubeError as error:
        raise refusal(error, what, namespace) from error


def refusal(error: KubeError, what: str, namespace: str) -> RunnerError:
    """The error that a submission ends with: SubmitRejected where the run itself has to change."""
    said = error.message
    if isinstance(error, Unavailable | Conflict) or error.retryable:
        return RunnerError(f"cannot create {what}: {said}", hint=error.hint, retryable=True)
    if _QUOTA in said:
        return RunnerError(
            f"cannot create {what} yet: {said}",
            hint=f"a quota of namespace {namespace} is used up; the run is tried again",
            retryable=True,
        )
    if isinstance(error, Forbidden) and _NO_RIGHT.search(said):
        return RightMissing(f"cannot create {what}: {said}", hint=_CHART_HINT)
    if _TERMINATING in said:
        hint = f"namespace {namespace} is being deleted; choose another one"
    elif missing := _NO_NAMESPACE.search(said):
        hint = f"create namespace {missing[1]}, or name another one in the queue's configuration"
    elif webhook := _WEBHOOK.search(said):
        hint = f"the cluster's admission webhook {webhook[1]} does not accept it; its message says why"
    else:
        hint = error.hint or hint_for(error)
    return SubmitRejected(f"the API server refuses {what}: {said}", hint=hint)


def hint_for(error: KubeError) -> str:
    if isinstance(error, Forbidden):
        return _CHART_HINT
    if isinstance(error, Invalid):
        return "change the field in the queue's configuration (resource_args.kubernetes)"
    if isinstance(error, NotFound | AlreadyExists):
        return ""
    return ""
