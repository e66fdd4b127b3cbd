"""What the SDKs of clouds mean by their errors, told by their shape, so that no SDK is imported to ask.

botocore's errors carry `response["Error"]`, Google's a `code` and a JSON text, Azure's a `status_code` and an
`error_code`. Errors that carry none of these come from before an answer: no credentials, no connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Cause(StrEnum):
    """Why a cloud did not do what it was asked."""

    NO_CREDENTIALS = "no-credentials"
    BAD_CREDENTIALS = "bad-credentials"
    DENIED = "denied"
    ABSENT = "absent"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An SDK's error in our words. `code` is the cloud's own word for it, empty where it has none."""

    cause: Cause
    message: str
    code: str = ""

    @property
    def is_retryable(self) -> bool:
        return self.cause in (Cause.BUSY, Cause.UNREACHABLE)


# By the names that the SDKs give their exceptions; those of AWS, Google and Azure do not overlap.
_BY_NAME: Mapping[str, Cause] = {
    "NoCredentialsError": Cause.NO_CREDENTIALS,
    "PartialCredentialsError": Cause.NO_CREDENTIALS,
    "CredentialRetrievalError": Cause.BAD_CREDENTIALS,
    "ProfileNotFound": Cause.NO_CREDENTIALS,
    "TokenRetrievalError": Cause.BAD_CREDENTIALS,
    "UnauthorizedSSOTokenError": Cause.BAD_CREDENTIALS,
    "SSOTokenLoadError": Cause.BAD_CREDENTIALS,
    "MetadataRetrievalError": Cause.NO_CREDENTIALS,
    "EndpointConnectionError": Cause.UNREACHABLE,
    "ConnectTimeoutError": Cause.UNREACHABLE,
    "ReadTimeoutError": Cause.UNREACHABLE,
    "ConnectionClosedError": Cause.UNREACHABLE,
    "ProxyConnectionError": Cause.UNREACHABLE,
    "SSLError": Cause.UNREACHABLE,
    "DefaultCredentialsError": Cause.NO_CREDENTIALS,
    "RefreshError": Cause.BAD_CREDENTIALS,
    "TransportError": Cause.UNREACHABLE,
    "RetryError": Cause.UNREACHABLE,
    "ConnectionError": Cause.UNREACHABLE,
    "Timeout": Cause.UNREACHABLE,
    "CredentialUnavailableError": Cause.NO_CREDENTIALS,
    "ClientAuthenticationError": Cause.BAD_CREDENTIALS,
    "ServiceRequestError": Cause.UNREACHABLE,
    "ServiceRequestTimeoutError": Cause.UNREACHABLE,
    "ServiceResponseError": Cause.UNREACHABLE,
    "ServiceResponseTimeoutError": Cause.UNREACHABLE,
}
# AWS codes are many; these are the ones that tell the cause and have no telling status.
_BAD_AWS = frozenset(
    {
        "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException",
        "SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidToken", "AuthFailure", "InvalidIdentityToken",
        "IncompleteSignature",
    }
)  # fmt: skip
_DENIED_AWS = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled"}
)
_ABSENT_AWS = frozenset({"NoSuchBucket", "NoSuchKey", "RepositoryNotFoundException", "NotFound"})
_BUSY_AWS = frozenset(
    {"Throttling", "ThrottlingException", "SlowDown", "RequestLimitExceeded", "ServiceUnavailable"}
)


def understand(error: BaseException) -> Fault:
    """The fault that an SDK's error tells of."""
    answer = getattr(error, "response", None)
    if isinstance(answer, Mapping) and isinstance(answer.get("Error"), Mapping):
        return _of_aws(answer)
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    message = _message(error)
    code = str(getattr(error, "error_code", None) or "")
    named = next((_BY_NAME[name] for name in _names(error) if name in _BY_NAME), None)
    if isinstance(status, int) and not isinstance(status, bool):
        return Fault(cause=_of_status(status, named), message=message, code=code or str(status))
    return Fault(cause=named or Cause.OTHER, message=message, code=code)


def _of_aws(answer: Mapping[str, Any]) -> Fault:
    error = answer["Error"]
    code, message = str(error.get("Code", "")), str(error.get("Message", ""))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _BAD_AWS:
        cause = Cause.BAD_CREDENTIALS
    elif code in _DENIED_AWS or "not authorized" in message:
        cause = Cause.DENIED
    elif code in _ABSENT_AWS:
        cause = Cause.ABSENT
    elif code in _BUSY_AWS:
        cause = Cause.BUSY
    else:
        cause = _of_status(status, None)
    # An answer to HEAD has no words: its code is the status, its message the status's name.
    text = " ".join(message.split())
    return Fault(cause=cause, message=f"{text} ({code})" if text else code, code=code)


def _of_status(status: int, named: Cause | None) -> Cause:
    if status == 401:
        return Cause.BAD_CREDENTIALS
    if status == 403:
        return Cause.DENIED
    if status == 404:
        return Cause.ABSENT
    if status == 429 or status >= 500:
        return Cause.BUSY
    return named or Cause.OTHER


def _names(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]


def _message(error: BaseException) -> str:
    """The first lines of what the SDK says: the rest is addresses of documents, or a request in full."""
    # Google's errors print as the tuple of what they were made of, urllib3's inside of them too.
    first = error.args[0] if error.args else None
    if isinstance(first, BaseException) and first is not error:
        return _message(first)
    text = str(getattr(error, "message", "") or (first if isinstance(first, str) else error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [line for line in lines if not re.match(r"(RequestId|Time|ErrorCode|Content|To mitigate|<)", line)]
    short = " ".join(kept)[:600]
    return short or type(error).__name__
