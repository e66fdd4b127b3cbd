"""What an API server's refusals are, by what can be done about them.

Every refusal comes as a `Status` object, whose `reason` is finer than the HTTP status: 409 is both "there is
one already" and "it was changed meanwhile". `message` is the server's own sentence and nothing else, so that
a caller can say in front of it what was being done; `str` says both.

Pitfall: the server quotes what it does not like. `of_answer` takes the words that must not be shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Self

from launch_agent.errors import LaunchError

# What strict validation says of unknown fields is in no list of causes.
_FIELD = re.compile(r'(?:unknown|duplicate) field "([^"]+)"')
_UID = "metadata.uid"
_LONGEST_EXCERPT = 200
_LONGEST_MESSAGE = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that is wrong. `field` is its path (`spec.template.spec.containers[0].image`) or empty."""

    field: str
    message: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a refusal is about, as far as the server says. `retry_after` is seconds, 0 where it names none."""

    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[Cause, ...] = ()
    retry_after: float = 0.0


class KubeError(LaunchError):
    """The API server answered, and the answer is no; or there is none.

    `status` is HTTP's (0 where there was no answer), `reason` the API's word (`AlreadyExists`). `action` is
    what was being done, to what: `create jobs team-a/x`. `acted` says that the server may have acted on the
    request all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        details: Details | None = None,
        action: str = "",
        acted: bool = False,
        hint: str = "",
        retryable: bool = False,
    ) -> None:
        super().__init__(message, hint=hint, retryable=retryable)
        self.status = status
        self.reason = reason
        self.details = details or Details()
        self.action = action
        self.acted = acted

    @property
    def fields(self) -> tuple[str, ...]:
        """The paths of what is wrong in the object that was sent."""
        return tuple(cause.field for cause in self.details.causes if cause.field)

    def asked_to_wait(self, seconds: float) -> Self:
        """The error with what its answer's Retry-After header says, if anything."""
        self.details = replace(self.details, retry_after=max(seconds, self.details.retry_after))
        return self

    def __str__(self) -> str:
        text = f"cannot {self.action}: {self.message}" if self.action else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class NotFound(KubeError):
    """No such object, or no such namespace for it."""


class UnknownKind(NotFound):
    """The server has no such kind of object."""


class AlreadyExists(KubeError):
    """An object of that name is there."""


class Conflict(KubeError):
    """The object is not as the request says it was: changed meanwhile, or another one of its name."""


class Forbidden(KubeError):
    """Access is denied, or an admission rule (a quota, Pod Security, a webhook) refuses."""


class Unauthorized(KubeError):
    """The server does not know us: the token or certificate is wrong or has expired."""


class Gone(KubeError):
    """What a list or watch was to go on from is no longer known: list anew."""


class Invalid(KubeError):
    """The object that was sent is not one of its kind; `fields` names what is wrong."""


class Unavailable(KubeError):
    """No answer, too many requests, or a fault of the server: later it may work."""


_BY_STATUS: Mapping[int, type[KubeError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Unavailable,
}
_BY_REASON: Mapping[str, type[KubeError]] = {
    "AlreadyExists": AlreadyExists,
    "Expired": Gone,
    "ServerTimeout": Unavailable,
    "Timeout": Unavailable,
    "StorageReadError": Unavailable,
}


def of_answer(
    status: int, body: bytes, *, action: str = "", content: str = "", hidden: Collection[str] = ()
) -> KubeError:
    """The error that an answer is. `content` is its type; `hidden` are texts to be masked."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, Mapping) and parsed.get("kind") == "Status":
        return of_status(parsed, status=status, action=action, hidden=hidden)
    # A proxy, or a handler of the server that speaks plain text.
    said = body[: _LONGEST_EXCERPT * 4].decode("utf-8", "replace") if content.startswith("text/plain") else ""
    said = " ".join(_masked(said, hidden).split())[:_LONGEST_EXCERPT]
    return _error(status, "", said or f"the API server answers {status}", Details(), action)


def of_status(
    answer: Mapping[str, Any], *, status: int = 0, action: str = "", hidden: Collection[str] = ()
) -> KubeError:
    """The error that a `Status` object is, whatever it holds. `status` is HTTP's where it came by itself; in
    a watch, the object's own `code` counts."""
    code = answer.get("code")
    status = status or (code if isinstance(code, int) and not isinstance(code, bool) else 0)
    reason = _text(answer, "reason")
    said = _masked(_text(answer, "message"), hidden)[:_LONGEST_MESSAGE]
    details = _details(answer.get("details"), said, hidden)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY and any(each.field == _UID for each in details.causes):
        # A merge says of another object of the same name that its uid cannot be changed.
        status, reason = HTTPStatus.CONFLICT.value, "Conflict"
    return _error(status, reason, said or reason or f"the API server answers {status}", details, action)


def _error(status: int, reason: str, message: str, details: Details, action: str) -> KubeError:
    kind = _BY_REASON.get(reason) or _BY_STATUS.get(status)
    if kind is None:
        kind = Unavailable if status >= 500 and status != 501 else KubeError
    transient = kind is Unavailable
    return kind(
        message,
        status=status,
        reason=reason,
        details=details,
        action=action,
        acted=transient and status != 429,
        retryable=transient,
    )


def _details(found: Any, message: str, hidden: Collection[str]) -> Details:
    about: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    given = about.get("causes")
    causes = tuple(
        Cause(
            field=_text(each, "field"),
            message=_masked(_text(each, "message"), hidden)[:_LONGEST_MESSAGE],
            reason=_text(each, "reason"),
        )
        for each in (given if isinstance(given, list) else ())
        if isinstance(each, Mapping)
    )
    if not causes:
        causes = tuple(Cause(field=each, message="unknown field") for each in _FIELD.findall(message))
    wait = about.get("retryAfterSeconds")
    return Details(
        name=_text(about, "name"),
        group=_text(about, "group"),
        kind=_text(about, "kind"),
        uid=_text(about, "uid"),
        causes=causes,
        retry_after=float(wait) if isinstance(wait, int) and 0 < wait < 1e6 else 0.0,
    )


def _text(source: Mapping[str, Any], name: str) -> str:
    value = source.get(name)
    return value if isinstance(value, str) else ""


def _masked(text: str, hidden: Collection[str]) -> str:
    for word in sorted(hidden, key=len, reverse=True):
        text = text.replace(word, "***")
    return text
