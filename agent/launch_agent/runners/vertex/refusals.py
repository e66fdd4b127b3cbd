"""What the API's refusals mean, and which permission is missing. Statuses are those of google.rpc.Code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from launch_agent.clients.http import Response
from launch_agent.errors import RunnerError, SubmitRejected

_PERMISSION = re.compile(r"Permission '?(?P<name>[\w.]+)'? denied|permission:? '?(?P<other>[a-z]+\.[\w.]+)'?")


class JobMissing(RunnerError):
    """There is no custom job of this name."""


def refused(what: str, answer: Response) -> RunnerError:
    """The error that an answer means; `what` was being done."""
    error = _error(answer)
    said = " ".join(str(error.get("message", "")).split()) or f"HTTP {answer.status}"
    text = f"cannot {what}: {said}"
    match answer.status:
        case 404:
            return JobMissing(
                text, hint="is the API enabled (aiplatform.googleapis.com), and the region right?"
            )
        case 401:
            return RunnerError(
                text, hint="the agent's own credentials for Google Cloud are not accepted", retryable=True
            )
        case 403:
            return SubmitRejected(text, hint=_permission(said, error))
        case 429:
            hint = "wait for other jobs to end, or ask for a higher quota of the region"
            return RunnerError(text, hint=hint, retryable=True)
        case 408 | 409:
            return RunnerError(text, retryable=True)
    if answer.status >= 500:
        return RunnerError(text, retryable=True)
    return SubmitRejected(f"{text}{_violations(error)}", hint=_hint(said))


def _error(answer: Response) -> Mapping[str, Any]:
    try:
        body = json.loads(answer.body)
    except ValueError:
        return {}
    error = body.get("error") if isinstance(body, Mapping) else None
    return error if isinstance(error, Mapping) else {}


def _violations(error: Mapping[str, Any]) -> str:
    """The fields that the API names, where it does."""
    found = [
        f"{violation.get('field', '')}: {violation.get('description', '')}"
        for detail in error.get("details", ())
        if isinstance(detail, Mapping)
        for violation in detail.get("fieldViolations", ())
    ]
    return f" ({'; '.join(found)})" if found else ""


def _permission(said: str, error: Mapping[str, Any]) -> str:
    if "SERVICE_DISABLED" in json.dumps(error.get("details", ())):
        return "enable the API aiplatform.googleapis.com in the project"
    found = _PERMISSION.search(said)
    name = (found["name"] or found["other"]) if found else ""
    if "actAs" in said or "act as" in said:
        name = "iam.serviceAccounts.actAs"
    return f"allow the agent's account {name}" if name else "allow the agent's account roles/aiplatform.user"


def _hint(said: str) -> str:
    if re.search(r"(?i)bucket|gs://|outputUriPrefix", said):
        return "the bucket must exist in the job's region, and the job's account must be allowed to use it"
    if re.search(r"(?i)machine|accelerator", said):
        return "the region offers other machine types and accelerators; see the table of locations"
    return ""
