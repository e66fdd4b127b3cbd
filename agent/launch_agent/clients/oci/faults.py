"""What a registry's refusal means, and what its user can do about it.

Registries answer in one form (`errors` with a code) and use it differently: Docker Hub and GHCR say "denied"
for what does not exist, so as not to tell strangers what does; others answer with an HTML page of the proxy
before them. The code decides where there is one, the status where not.
"""

from __future__ import annotations

import json
from typing import Any

from launch_agent.clients.http import TRANSIENT, Response
from launch_agent.errors import RegistryDenied, RegistryError, RegistryNotFound, RegistryUnavailable

_ABSENT = frozenset(
    {"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN", "NOT_FOUND", "MANIFEST_BLOB_UNKNOWN"}
)
_DENIED = frozenset({"UNAUTHORIZED", "DENIED"})


def said(answer: Response) -> tuple[str, str]:
    """The first error's code and the sentences of all; an empty code where the answer has another form."""
    try:
        document = answer.json()
    except ValueError:
        return "", "" if _is_page(answer) else answer.excerpt()
    if not isinstance(document, dict):
        return "", answer.excerpt()
    # Token servers of the OAuth kind say `error`, GitHub's and Google's say `message` or `details`.
    errors = document.get("errors")
    found = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    if not found:
        return "", _words(document) or answer.excerpt()
    code = str(found[0].get("code", "")).upper()
    texts = [_words(each) or str(each.get("code", "")) for each in found[:3]]
    return code, "; ".join(dict.fromkeys(texts))


def refusal(doing: str, host: str, answer: Response, *, anonymous: bool, pushing: bool) -> RegistryError:
    """The error for an answer that is no success. `doing` is `push the layer sha256:… to host/name`."""
    code, words = said(answer)
    told = f"{words} (status {answer.status})" if words else f"status {answer.status}"
    message = f"cannot {doing}: {host} says: {told}"
    if answer.status == 429 or code == "TOOMANYREQUESTS":
        hint = "log in, or raise the registry's limit" if anonymous else "the registry limits this account"
        return RegistryUnavailable(message, hint=hint)
    if answer.status in (401, 403) or code in _DENIED:
        return RegistryDenied(message, hint=_denied_hint(host, words, anonymous=anonymous, pushing=pushing))
    if answer.status == 404 or code in _ABSENT:
        return RegistryNotFound(message, hint=_absent_hint(host, code))
    if answer.status == 413:
        return RegistryError(message, hint=f"raise the size limit of {host}, or of the proxy before it")
    if answer.status in TRANSIENT:
        return RegistryUnavailable(message)
    if 300 <= answer.status < 400:
        return RegistryError(f"{message}, which leads nowhere", hint="is this the registry's own address?")
    return RegistryError(message)


def _denied_hint(host: str, words: str, *, anonymous: bool, pushing: bool) -> str:
    if "quota" in words.lower():
        return f"the project's quota on {host} is used up: remove images, or raise it"
    if anonymous:
        return (
            f"no credentials for {host} were found; `docker login {host}`, or give the agent a Docker config "
            "with them. Check the name too: registries deny what does not exist"
        )
    return f"check the name, and that the account may {'push to' if pushing else 'pull from'} it"


def _absent_hint(host: str, code: str) -> str:
    if code == "NAME_UNKNOWN" and ".dkr.ecr" in host:
        return "create the repository, or set registry.create: true"
    return "check the name; some registries want the repository or project to be made first"


def _words(value: dict[str, Any]) -> str:
    message = value.get("message") or value.get("details") or value.get("error_description")
    message = message or value.get("error") or ""
    detail = value.get("detail")
    if isinstance(message, (dict, list)):
        message = json.dumps(message)
    text = " ".join(str(message).split())
    if isinstance(detail, str) and detail and detail not in text:
        text = f"{text}: {detail}" if text else detail
    return text if len(text) <= 300 else f"{text[:300]}…"


def _is_page(answer: Response) -> bool:
    return answer.headers.get("content-type", "").startswith("text/html")
