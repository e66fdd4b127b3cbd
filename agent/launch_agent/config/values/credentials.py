"""Credentials in values files: what stands there in plain text, and what is of a form that nobody reads.

No message holds a credential or a part of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.config.finding import Finding, Path, Severity
from launch_agent.config.values.view import View, filled_later

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

# Where credentials can be written, and the value that names a Secret with them instead.
_PLAIN: tuple[tuple[Path, str], ...] = (
    (("agent", "apiKey"), "name a Secret that holds it in agent.apiKeySecret.name"),
    (("gitCreds",), "name a Secret that holds it in gitCredsSecret.name"),
    (("azureStorageAccessKey",), "name a Secret that holds it in azureStorageAccessKeySecret.name"),
)
# A line of Git's credential file: https://git-scm.com/docs/git-credential-store#_storage_format
_CREDENTIAL = re.compile(r"https?://[^:@/\s]+(:[^@/\s]*)?@[^/@\s]+(/\S*)?")
_SSH = re.compile(r"(ssh://|git@)|-----BEGIN .*PRIVATE KEY")
_SECRET_NAME = re.compile(r"(API_?KEY|ACCESS_?KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_LOGIN = re.compile(r"[a-z]+://[^/@\s]*:[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class _Wrong:
    message: str
    hint: str


def run(view: View) -> None:
    """All findings about credentials, added to the view's."""
    _api_key(view)
    for path, hint in _PLAIN:
        if _is_plain(view.get(*path)):
            _plain(view, path, hint)
    for path, _ in _variables(view, "additionalSecretEnvVars"):
        _plain(view, path, "name a Secret that holds it in agent.extraEnvFrom")
    for path, name in _variables(view, "additionalEnvVars"):
        if _SECRET_NAME.search(name):
            hint = "name a Secret that holds it in agent.extraEnvFrom, or use additionalSecretEnvVars"
            _plain(view, path, hint)
    for key in ("http", "https"):
        address = view.get("proxy", key)
        if _is_plain(address) and _LOGIN.match(address):
            _plain(view, ("proxy", key), "name a Secret that holds it in proxy.existingSecret")
    creds = view.get("gitCreds")
    if isinstance(creds, str) and not filled_later(creds):
        _git(view, creds)


def _api_key(view: View) -> None:
    key = view.get("agent", "apiKey")
    if isinstance(key, str) and len(key.split()) > 1 and not filled_later(key) and "<" not in key:
        view.say(
            ERROR,
            "wrong-value",
            ("agent", "apiKey"),
            "it holds white space, which no API key does",
            hint="copy it again",
        )
    named = view.get("agent", "apiKeySecret", "name") or view.get("agent", "useExternalWandbSecret")
    if view.key and not key and not named:
        view.say(
            NOTE,
            "no-credentials",
            ("agent", "apiKey"),
            "there is no API key, and the chart does not install without one",
            hint="name its Secret in agent.apiKeySecret.name, or give it with --set agent.apiKey=…",
            at_key=True,
        )


def _plain(view: View, path: Path, hint: str) -> None:
    message = "a credential in plain text; whoever may read this file can use it"
    view.say(WARNING, "plain-secret", path, message, hint=hint)


def _is_plain(value: Any) -> bool:
    """Whether it is a credential, and not a placeholder or the mark of something that fills it in later."""
    if not isinstance(value, str) or not value.strip() or filled_later(value):
        return False
    return not re.search(r"<[^<>\n]+>", value)


def _variables(view: View, key: str) -> Iterator[tuple[Path, str]]:
    """Path and name of each variable with a plain value, in both forms: a mapping of names to values, and a
    list of {name, value}."""
    given = view.get(key)
    if isinstance(given, Mapping):
        yield from (((key, name), name) for name, value in given.items() if _is_plain(value))
    elif isinstance(given, list):
        for number, item in enumerate(given):
            if isinstance(item, Mapping) and _is_plain(item.get("value")):
                yield (key, number, "value"), str(item.get("name", ""))


def _git(view: View, text: str) -> None:
    """Git passes over lines that it does not understand, without a word."""
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    at = view.lines(("gitCreds",)) if text.strip() else None
    for number, line in lines:
        wrong = _wrong_line(line) if line else None
        if wrong is None or at is None:
            continue
        file, row, column = at(number)
        view.put(
            file,
            Finding(
                severity=WARNING,
                code="wrong-value",
                message=f"line {number} of these Git credentials {wrong.message}",
                hint=wrong.hint,
                path=(*view.prefix, "gitCreds"),
                line=row,
                column=column,
            ),
        )


def _wrong_line(line: str) -> _Wrong | None:
    if _SSH.match(line):
        return _Wrong("is for SSH, which does not read them", "name a Secret with the key in sshAuthSecrets")
    if line.startswith("http://"):
        return _Wrong("sends them unencrypted", "use https:// where the server offers it")
    if _CREDENTIAL.fullmatch(line):
        return None
    return _Wrong("has no effect", "write https://<user>:<token>@<host>, one a line")
