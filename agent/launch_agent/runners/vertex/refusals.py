"""What the API's refusals mean, and which permission is missing. Statuses are those of google.rpc.Code.

The API prints what it refuses, and a custom job's variables are among that: what is secret in a request is
taken out of its words before anybody sees them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from launch_agent.clients.http import Response
from launch_agent.errors import RightMissing, RunnerError, SubmitRejected
from launch_agent.telemetry.redact import MASK, redact

_PERMISSION = re.compile(
    r"[Pp]ermission:? '?(?P<name>[a-z]+(?:\.\w+){2,})'?|(?P<other>[a-z]+\.\w+\.\w+) (?:access|permission)"
)
# What the queue's own words ask for, so that no wait helps where it is not allowed.
_ACT_AS = re.compile(r"(?i)iam\.serviceAccounts\.actAs|act as (?:service account)?|service account user")
_AGENT = re.compile(r"(?i)service agent|gcp-sa-aiplatform")


class JobMissing(RunnerError):
    """There is no custom job of this name."""


class Ended(RunnerError):
    """The job is in a state in which it cannot be cancelled, or deleted, any more."""


def refused(what: str, answer: Response, secrets: Sequence[str] = ()) -> RunnerError:
    """The error that an answer means; `what` was being done. `secrets` are texts that the request held and
    that no message may."""
    error = _error(answer)
    said = _discreet(str(error.get("message", "")), secrets) or f"HTTP {answer.status}"
    text = f"cannot {what}: {said}"
    match answer.status:
        case 404:
            hint = "is the API enabled (aiplatform.googleapis.com), and the region right?"
            return JobMissing(text, hint=hint)
        case 401:
            hint = "the agent's own credentials for Google Cloud are not accepted"
            return RunnerError(text, hint=hint, retryable=True)
        case 403:
            return _denied(text, said, error)
        case 429:
            hint = "wait for other jobs to end, or ask for a higher quota of the region"
            return RunnerError(text, hint=hint, retryable=True)
        case 408 | 409:
            return RunnerError(text, retryable=True)
    if answer.status >= 500:
        return RunnerError(text, retryable=True)
    if error.get("status") == "FAILED_PRECONDITION" and re.search(r"(?i)\bstate\b", said):
        return Ended(text)
    if violations := _discreet(_violations(error), secrets):
        text = f"{text} ({violations})"
    return SubmitRejected(text, hint=_hint(said))


def _error(answer: Response) -> Mapping[str, Any]:
    try:
        body = json.loads(answer.body)
    except ValueError:
        return {}
    error = body.get("error") if isinstance(body, Mapping) else None
    return error if isinstance(error, Mapping) else {}


def _discreet(said: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        for form in (secret, json.dumps(secret)[1:-1]):
            said = said.replace(form, MASK) if form else said
    return redact(" ".join(said.split()))


def _violations(error: Mapping[str, Any]) -> str:
    """The fields that the API names, where it does."""
    found = [
        f"{violation.get('field', '')}: {violation.get('description', '')}"
        for detail in error.get("details", ())
        if isinstance(detail, Mapping)
        for violation in detail.get("fieldViolations", ())
    ]
    return "; ".join(found)


def _denied(text: str, said: str, error: Mapping[str, Any]) -> RunnerError:
    if "SERVICE_DISABLED" in json.dumps(error.get("details", ())):
        return RightMissing(text, hint="enable the API aiplatform.googleapis.com in the project")
    if _ACT_AS.search(said):
        hint = (
            "allow the agent's account iam.serviceAccounts.actAs (roles/iam.serviceAccountUser) on the "
            "service account that the queue's run.service_account names"
        )
        return SubmitRejected(text, hint=hint)
    if _AGENT.search(said):
        hint = (
            "the service agent of Vertex AI (service-<project number>@gcp-sa-aiplatform.iam.gserviceaccount"
            ".com) needs roles/aiplatform.serviceAgent, and the rights that the message names"
        )
        return SubmitRejected(text, hint=hint)
    found = _PERMISSION.search(said)
    name = (found["name"] or found["other"]) if found else ""
    return RightMissing(
        text,
        hint=f"allow the agent's account {name}"
        if name
        else "allow the agent's account roles/aiplatform.user",
    )


def _hint(said: str) -> str:
    if re.search(r"(?i)bucket|gs://|outputUriPrefix", said):
        return "the bucket must exist in the job's region, and the job's account must be allowed to use it"
    if re.search(r"(?i)machine|accelerator", said):
        return "the region offers other machine types and accelerators; see the table of locations"
    return ""
