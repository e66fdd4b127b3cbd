"""What the service's refusals mean, and which permission is missing.

Codes are those of the SageMaker API reference and of AWS's common errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from launch_agent.errors import RunnerError, SubmitRejected

# Codes that a later try may meet no more, and whether the job or the world is to blame is open.
_RETRYABLE = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "RequestTimeout",
        "ConflictException",
    }
)
_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "IncompleteSignature",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "AuthFailure",
    }
)
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"})
_ACTION = re.compile(
    r"not authorized to perform:? ?(?P<action>[a-z0-9-]+:\w+)(?: on resource:? (?P<on>\S+))?"
)
_HINTS: Mapping[str, str] = {
    "iam:PassRole": "allow the agent iam:PassRole on the role that the queue's RoleArn names",
    "kms:CreateGrant": (
        "allow the agent kms:CreateGrant on the key of ResourceConfig.VolumeKmsKeyId, under the conditions "
        "kms:ViaService and kms:GrantIsForAWSResource"
    ),
}


class _WithCode(RunnerError):
    """An error with AWS's own word for it, for callers that must tell one from another."""

    code = ""


class JobMissing(_WithCode):
    """There is no training job of this name."""


class NameTaken(_WithCode):
    """There is a training job of this name already."""


def refused(what: str, response: Mapping[str, Any]) -> RunnerError:
    """The error that an answer of the service means; `what` was being done."""
    error = response.get("Error", {})
    code, said = str(error.get("Code", "")), " ".join(str(error.get("Message", "")).split())
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"cannot {what}: {said or code} ({code})" if code not in said else f"cannot {what}: {said}"
    if code == "ResourceNotFound" or "Requested resource not found" in said:
        return JobMissing(text)
    if code == "ResourceInUse":
        return NameTaken(text)
    if code in _DENIED or (status == 403 and code not in _CREDENTIALS):
        return _denied(text, said)
    if code in _CREDENTIALS:
        return RunnerError(
            text, hint="the agent's own credentials for AWS have expired or are not accepted", retryable=True
        )
    if code == "ResourceLimitExceeded":
        # A quota frees itself as other jobs end.
        return RunnerError(
            text,
            hint="wait for other jobs to end, or ask for a higher quota in Service Quotas",
            retryable=True,
        )
    if code in _RETRYABLE or status >= 500 or status == 429:
        return RunnerError(text, retryable=True)
    return SubmitRejected(text, hint=_hint_for(said))


def invalid(what: str, said: str) -> SubmitRejected:
    """A request that the API's own model refuses."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    report = "; ".join(line for line in lines if not line.startswith("Parameter validation failed"))
    return SubmitRejected(
        f"cannot {what}: {report}",
        hint="the keys of resource_args.sagemaker are those of CreateTrainingJob, with their types",
    )


def unreachable(what: str, said: str) -> RunnerError:
    """No answer, or no credentials to ask with."""
    if re.search(r"(?i)credential|token|profile", said):
        hint = "give the agent credentials (role of the pod or instance, AWS_* variables, profile)"
        return RunnerError(f"cannot {what}: {said}", hint=hint, retryable=True)
    if "region" in said.lower():
        return RunnerError(f"cannot {what}: {said}", hint="set environment.region in the agent's config")
    return RunnerError(f"cannot {what}: {said}", hint="is AWS reachable from here?", retryable=True)


def _denied(text: str, said: str) -> RunnerError:
    found = _ACTION.search(said)
    action = found["action"] if found else ""
    on = f" on {found['on']}" if found and found["on"] else ""
    hint = _HINTS.get(
        action, f"allow the agent {action}{on}" if action else "the agent's role lacks a permission"
    )
    return SubmitRejected(text, hint=hint)


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
