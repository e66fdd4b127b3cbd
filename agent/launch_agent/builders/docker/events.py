"""What an engine says while it builds and pushes: lines for the log, the digest, the error.

Both answer with a stream of JSON events; a failure comes as the last of them, and its kind can only be read
from its words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from launch_agent.errors import BuildError, RegistryDenied, RegistryError, RegistryUnavailable
from launch_agent.telemetry.redact import redact

_DENIED = ("denied", "unauthorized", "authentication required", "no basic auth", "forbidden")
_ABSENT = ("manifest unknown", "not found", "name unknown", "repository does not exist", "no such host")
_SILENT = ("connection refused", "timeout", "deadline exceeded", "unreachable", "tls", "x509", "eof", "reset")
_FULL = ("no space left", "disk quota")


def built(events: Iterable[Mapping[str, Any]], line: Callable[[str], None]) -> str:
    """Follow a build to its end; the id of the image. `line` is called with each line of output. Raises
    BuildError without a log: whoever keeps the lines adds it."""
    image = ""
    for event in events:
        if "error" in event:
            # It repeats the command that failed, arguments and all.
            raise _build_failure(redact(str(event["error"])))
        for text in str(event.get("stream", "")).splitlines():
            if text.strip():
                line(text)
        # Of a base image that is pulled, each layer's changes are enough to follow; bars are left out.
        if (status := event.get("status")) and "progress" not in event:
            line(f"{event['id']}: {status}" if event.get("id") else str(status))
        image = str((event.get("aux") or {}).get("ID", image))
    if not image:
        raise BuildError("the engine ended the build without an image and without an error", retryable=True)
    return image


def pushed(events: Iterable[Mapping[str, Any]], line: Callable[[str], None], reference: str) -> str:
    """Follow a push to its end; the digest of the manifest. Raises RegistryError and its kinds."""
    digest = ""
    for event in events:
        if "error" in event:
            raise _push_failure(reference, str(event["error"]))
        digest = str((event.get("aux") or {}).get("Digest", digest))
        status = str(event.get("status", ""))
        if status and "progress" not in event and not event.get("progressDetail"):
            line(f"{event['id']}: {status}" if event.get("id") else status)
    if not digest:
        raise RegistryError(f"cannot push {reference}: the engine tells no digest")
    return digest


def _build_failure(said: str) -> BuildError:
    words = said.lower()
    if any(word in words for word in _FULL):
        return BuildError(
            f"the build failed: {said}", hint="make room on the engine's disk (docker system prune)"
        )
    if "returned a non-zero code" in words:
        return BuildError(
            f"the build failed: {said}", hint="the log shows what that step printed; it is the job's own"
        )
    if "pull access denied" in words or ("manifest" in words and any(word in words for word in _ABSENT)):
        return BuildError(
            f"the build failed: {said}",
            hint="is the image that the Dockerfile begins with there, and readable?",
        )
    return BuildError(f"the build failed: {said}")


def _push_failure(reference: str, said: str) -> RegistryError:
    words = said.lower()
    if any(word in words for word in _DENIED):
        return RegistryDenied(
            f"cannot push {reference}: {said}",
            hint="the agent's credentials must be allowed to push there",
        )
    if any(word in words for word in _SILENT):
        return RegistryUnavailable(
            f"cannot push {reference}: {said}", hint="can the engine reach the registry?"
        )
    if any(word in words for word in _ABSENT):
        return RegistryError(f"cannot push {reference}: {said}", hint="does the repository exist?")
    return RegistryError(f"cannot push {reference}: {said}")
