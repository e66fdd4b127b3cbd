"""Why a run has no pod: what the API server refused the controller that should create it.

The controller's event stands on the Job, not on a pod. The texts are those of the admission plugins
(kubernetes plugin/pkg/admission, k8s.io/apiserver pkg/admission, k8s.io/pod-security-admission) behind
`Error creating: pods "x" is forbidden: `.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launch_agent.runners.kubernetes.diagnosis.finding import NEVER, Finding
from launch_agent.runners.kubernetes.facts import EventFacts

# Accounts, classes and policies of a new namespace come from another controller, seconds later.
_GRACE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """`message` may quote the named groups of the pattern."""

    pattern: re.Pattern[str]
    reason: str
    message: str
    hint: str = ""
    patience: float = _GRACE


_REFUSALS: tuple[_Refusal, ...] = (
    _Refusal(
        pattern=re.compile(r"exceeded quota: (?P<name>[^,]+), requested: (?P<asked>.+?), used: "),
        reason="QuotaExceeded",
        message="the quota {name} of the namespace has no room for {asked}",
        hint="wait for other jobs to end, ask for less, or raise the quota",
        patience=NEVER,
    ),
    _Refusal(
        pattern=re.compile(r"failed quota: (?P<name>[^:]+): must specify (?P<what>.+)"),
        reason="QuotaNeedsResources",
        message="the quota {name} of the namespace wants every pod to say {what}",
        hint="set resources.requests and resources.limits in the queue's configuration",
    ),
    _Refusal(
        pattern=re.compile(r'violates PodSecurity "(?P<level>[^"]+)": (?P<what>.+)'),
        reason="PodSecurityViolation",
        message='the namespace admits pods of Pod Security "{level}" only: {what}',
        hint="set the securityContext that it asks for, or run in a namespace of another level",
        patience=0,
    ),
    _Refusal(
        pattern=re.compile(
            r'error looking up service account [^:]+: serviceaccount "(?P<name>[^"]+)" not found'
        ),
        reason="ServiceAccountNotFound",
        message="the service account {name} does not exist in the run's namespace",
        hint="create it, or name another one in serviceAccountName",
    ),
    _Refusal(
        pattern=re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request:? ?(?P<what>.*)'),
        reason="AdmissionDenied",
        message="the admission webhook {name} refuses the pod: {what}",
        hint="change the job as the webhook's policy asks, or have the policy changed",
    ),
    _Refusal(
        pattern=re.compile(
            r"ValidatingAdmissionPolicy '(?P<name>[^']+)'(?: with binding '[^']*')?"
            r" denied request: (?P<what>.+)"
        ),
        reason="AdmissionDenied",
        message="the admission policy {name} refuses the pod: {what}",
        hint="change the job as the policy asks, or have the policy changed",
    ),
    _Refusal(
        pattern=re.compile(r'failed calling webhook "(?P<name>[^"]+)": (?P<what>.+)'),
        reason="WebhookUnavailable",
        message="the admission webhook {name} does not answer: {what}",
        hint="see to the webhook's own pods; the controller goes on trying",
        patience=NEVER,
    ),
    _Refusal(
        pattern=re.compile(r"no PriorityClass with name (?P<name>\S+) was found"),
        reason="PriorityClassNotFound",
        message="the priority class {name} does not exist",
        hint="create it, or name another one in priorityClassName",
    ),
    _Refusal(
        pattern=re.compile(r'RuntimeClass "(?P<name>[^"]+)" not found'),
        reason="RuntimeClassNotFound",
        message="the runtime class {name} does not exist",
        hint="create it, or name another one in runtimeClassName",
    ),
    _Refusal(
        pattern=re.compile(r"because it is being terminated|namespace \S+ is being terminated"),
        reason="NamespaceTerminating",
        message="the run's namespace is being deleted",
        hint="run in another namespace, or wait until it is there again",
        patience=0,
    ),
    _Refusal(
        pattern=re.compile(r"(?P<what>(?:maximum|minimum) [\w.\-/]+ usage per \w+ is .+)"),
        reason="LimitRangeViolation",
        message="the namespace's limit range does not allow it: {what}",
        hint="change resources.requests and resources.limits in the queue's configuration",
    ),
    _Refusal(
        pattern=re.compile(r'Pod "[^"]+" is invalid: (?P<what>.+)'),
        reason="PodInvalid",
        message="the API server does not take the pod: {what}",
        hint="correct the pod template in the queue's configuration",
    ),
    _Refusal(
        pattern=re.compile(r"is forbidden: (?P<what>.+)"),
        reason="FailedCreate",
        message="the API server refuses the run's pod: {what}",
        patience=NEVER,
    ),
)


def explain(events: Sequence[EventFacts]) -> Finding | None:
    """Why the last attempt to create a pod of the run was refused; None where the last one was not."""
    refused = [one for one in events if one.warning and one.about[0] != "Pod"]
    made = max((one.last or 0 for one in events if one.reason == "SuccessfulCreate"), default=0.0)
    for event in sorted(refused, key=lambda one: one.last or 0, reverse=True):
        if (event.last or made) >= made and (found := _refusal(event)):
            return found
    return None


def _refusal(event: EventFacts) -> Finding | None:
    for refusal in _REFUSALS:
        if found := refusal.pattern.search(event.message):
            quoted = {key: (value or "").strip()[:500] for key, value in found.groupdict().items()}
            return Finding(
                reason=refusal.reason,
                message=refusal.message.format(**quoted).rstrip(": "),
                hint=refusal.hint,
                patience=refusal.patience,
                since=event.first,
            )
    if not event.reason.startswith("FailedCreate"):
        return None
    return Finding(
        reason="FailedCreate",
        message=f"the run's pod cannot be created: {event.message[:300]}",
        since=event.first,
    )
