"""What the services' refusals mean, and which permission is missing.

Codes are those of the SageMaker API reference and of AWS's common errors. The service prints what it refuses
(`Value '{…}' at 'environment' failed to satisfy constraint`): variables, and with them keys, are taken out of
its words before anybody sees them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from launch_agent.errors import RightMissing, RunnerError, SubmitRejected
from launch_agent.telemetry.redact import MASK

# Codes that a later try may meet no more, and whether the job or the world is to blame is open.
_RETRYABLE = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "RequestTimeout",
        "ConflictException",
    }
)
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_CREDENTIALS = EXPIRED | {
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "IncompleteSignature",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
}
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"})
_MISSING = frozenset({"ResourceNotFound", "ResourceNotFoundException"})
_ACTION = re.compile(
    r"not authorized to perform:? ?(?P<action>[a-z0-9-]+:\w+)(?: on resource:? (?P<on>\S+))?"
)
_QUOTA = re.compile(r"is (?P<limit>\d+) Instances?, .*request delta of (?P<delta>\d+) Instances?")
_VARIABLES = re.compile(r"(?is)value '.*' at 'environment")
# What the queue's own words ask for, so that no wait will help where it is not allowed.
_OF_THE_QUEUE: Mapping[str, str] = {
    "iam:PassRole": "allow the agent iam:PassRole on the role that the queue's RoleArn names",
    "kms:CreateGrant": (
        "allow the agent kms:CreateGrant on the key of ResourceConfig.VolumeKmsKeyId, under the conditions "
        "kms:ViaService and kms:GrantIsForAWSResource"
    ),
}


class Missing(RunnerError):
    """There is no such job, log group or log stream."""


class NameTaken(RunnerError):
    """There is a training job of this name already."""


class Ended(RunnerError):
    """The job is in a state in which it cannot be stopped any more."""


def refused(what: str, response: Mapping[str, Any], secrets: Sequence[str] = ()) -> RunnerError:
    """The error that an answer of a service means; `what` was being done. `secrets` are texts that the
    request held and that no message may."""
    error = response.get("Error", {})
    code, said = str(error.get("Code", "")), _discreet(str(error.get("Message", "")), secrets)
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"cannot {what}: {said or code} ({code})" if code not in said else f"cannot {what}: {said}"
    if code in _MISSING or "Requested resource not found" in said or "Could not find" in said:
        return Missing(text)
    if code == "ResourceInUse":
        return NameTaken(text)
    if code in _CREDENTIALS:
        hint = "the agent's own credentials for AWS have expired or are not accepted"
        return RunnerError(text, hint=hint, retryable=True)
    if code in _DENIED or status == 403:
        return _denied(text, said)
    if code == "ResourceLimitExceeded":
        return _quota(text, said)
    if code in _RETRYABLE or status >= 500 or status == 429:
        return RunnerError(text, retryable=True)
    if "in status" in said or "Unable to transition" in said:
        return Ended(text)
    return SubmitRejected(text, hint=_hint_for(said))


def unreachable(what: str, said: str) -> RunnerError:
    """No answer, or no credentials to ask with."""
    if re.search(r"(?i)credential|token|profile", said):
        hint = "give the agent credentials (role of the pod or instance, AWS_* variables, profile)"
        return RunnerError(f"cannot {what}: {said}", hint=hint, retryable=True)
    if "region" in said.lower():
        return RunnerError(f"cannot {what}: {said}", hint="set environment.region in the agent's config")
    return RunnerError(f"cannot {what}: {said}", hint="is AWS reachable from here?", retryable=True)


def _discreet(said: str, secrets: Sequence[str]) -> str:
    said = _VARIABLES.sub(f"Value {MASK} at 'environment", said)
    for secret in secrets:
        if secret:
            said = said.replace(secret, MASK)
    return " ".join(said.split())


def _denied(text: str, said: str) -> RunnerError:
    found = _ACTION.search(said)
    action = found["action"] if found else ""
    if action in _OF_THE_QUEUE:
        return SubmitRejected(text, hint=_OF_THE_QUEUE[action])
    on = f" on {found['on']}" if found and found["on"] else ""
    return RightMissing(
        text, hint=f"allow the agent {action}{on}" if action else "the agent's role lacks a permission"
    )


def _quota(text: str, said: str) -> RunnerError:
    """A quota frees itself as other jobs end, but for one that the job alone is too large for."""
    found = _QUOTA.search(said)
    if found and int(found["delta"]) > int(found["limit"]):
        hint = "ask for a higher quota in Service Quotas, or use another instance type"
        return SubmitRejected(text, hint=hint)
    hint = "wait for other jobs to end, or ask for a higher quota in Service Quotas"
    return RunnerError(text, hint=hint, retryable=True)


def _hint_for(said: str) -> str:
    if re.search(r"(?i)assume.{0,20}role|role.{0,40}(invalid|not exist|cannot be assumed)", said):
        return "the role of RoleArn must exist, and its trust policy must name sagemaker.amazonaws.com"
    if re.search(r"(?i)kms", said):
        return "the key must exist in the job's region, and its policy must let the role use it"
    if re.search(r"(?i)image", said):
        return (
            "TrainingImage must be in ECR in the job's region, or TrainingImageConfig must open its registry"
        )
    if re.search(r"(?i)s3|bucket", said):
        return "the bucket must exist in the job's region, and the role must be allowed to use it"
    return ""
