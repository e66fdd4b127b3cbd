"""What `buildctl` says when something fails, and what it means: read from its words, which are all it gives.

The words of daemons (gRPC, Go's TLS and network packages, containerd's resolver) come through it unchanged.
The last line that begins with `error: ` is the failure; what stands before it may be a build's own output,
in which any of these words can occur, so a daemon's troubles are looked for in that line only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from launch_agent.errors import BuildError, LaunchError, RegistryDenied, RegistryUnavailable

_TLS = "builder.buildkit-tls (or the Secret that the chart's buildkitTlsSecret names)"
_ADDRESS = "does a BuildKit daemon listen at builder.buildkit-address, and may the agent connect to it?"
# What is wrong with the way to the daemon: words, what it means, what to do, whether it may pass.
_CONNECTING: Sequence[tuple[str, str, str, bool]] = (
    (
        r"certificate has expired or is not yet valid|tls: expired certificate|alert certificate expired",
        "a certificate has expired, or is not valid yet",
        f"renew it: {_TLS}, or the daemon's; are both clocks right?",
        False,
    ),
    (
        r"certificate signed by unknown authority|certificate is not trusted",
        "its certificate is signed by an authority that the agent does not trust",
        f"name the authority's certificate as ca in {_TLS}",
        False,
    ),
    (
        r"certificate is (?:not )?valid for|doesn't contain any IP SANs|cannot validate certificate for",
        "its certificate is for another name",
        "write the name in it as builder.buildkit-tls.server-name, or as the host of buildkit-address",
        False,
    ),
    (
        r"tls: (?:certificate required|bad certificate|unknown certificate authority|unknown certificate"
        r"|access denied)|alert (?:certificate required|bad certificate|unknown ca|certificate unknown"
        r"|access denied)",
        "it does not accept the agent's certificate, or wants one and gets none",
        f"give cert and key, signed by the authority that the daemon trusts, in {_TLS}",
        False,
    ),
    (
        r"first record does not look like a TLS handshake",
        "it speaks no TLS",
        "remove builder.buildkit-tls, or start the daemon with --tlscert, --tlskey and --tlscacert",
        False,
    ),
    (
        r"unknown service moby\.buildkit|unimplemented|unexpected HTTP status code|malformed HTTP"
        r"|frame too large|content-type",
        "what listens there is no BuildKit daemon",
        "builder.buildkit-address must be a buildkitd's",
        False,
    ),
    (
        r"reading server preface|http2: |connection reset",
        "it does not answer as a BuildKit daemon without TLS does",
        f"if it wants TLS, give {_TLS}",
        True,
    ),
    (r"permission denied", "the agent may not open its socket", "give the agent the socket's group", False),
    (r"no such host|name or service not known", "its host has no address", _ADDRESS, True),
    (r"connection refused|no such file", "nothing listens there", _ADDRESS, True),
    (
        r"deadline exceeded|i/o timeout|no route to host|unreachable",
        "it does not answer in time",
        _ADDRESS,
        True,
    ),
)
# What fails before or beside a solve is the connection's; a solve itself has troubles of its own with others.
_LOST = re.compile(
    r"^(?!failed to solve: ).*(?:Unavailable|Canceled|rpc error|connection error|DeadlineExceeded)"
    r"|^failed to solve: (?:rpc error: code = )?(?:Unavailable|Canceled)\b"
    r"|no active session"
)
_BROKEN_OFF = re.compile(r"broken pipe|connection reset|\bEOF\b|use of closed", re.IGNORECASE)
_EXIT_CODE = re.compile(r"did not complete successfully: (?:exit code: (?P<code>\d+)|(?P<why>.+))")
_DENIED = re.compile(
    r"\b40[13]\b|unauthorized|denied|forbidden|insufficient_scope|authorization failed", re.IGNORECASE
)
_AWAY = re.compile(
    r"connection refused|i/o timeout|deadline exceeded|no such host|\b50[0234]\b|x509|tls:"
    r"|server gave HTTP response|connection reset|\b429\b|too many requests",
    re.IGNORECASE,
)
_ERROR = "error: "


def unreachable(address: str, said: str) -> BuildError:
    """Why the daemon at `address` cannot be used, by what a question to it printed."""
    last = _failure_in(said)
    for words, meaning, hint, passes in _CONNECTING:
        if re.search(words, last, re.IGNORECASE):
            return BuildError(
                f"the BuildKit daemon at {address} cannot be used: {meaning} ({last})",
                hint=hint,
                retryable=passes,
            )
    return BuildError(
        f"the BuildKit daemon at {address} cannot be used: {last}", hint=_ADDRESS, retryable=True
    )


def is_lost(said: str) -> bool:
    """Whether a build failed for want of the daemon and not by itself."""
    return _LOST.search(_failure_in(said)) is not None


def is_broken_off(said: str) -> bool:
    """Whether the other side ended the connection without a word that was heard."""
    return _BROKEN_OFF.search(_failure_in(said)) is not None


def not_started(said: str) -> BuildError | None:
    """The error of a Job whose daemon did not come up or could not read its context; None of any other."""
    if "could not connect to unix://" in said:
        why = [line for line in said.splitlines() if line.strip()][-1]
        return BuildError(
            f"BuildKit does not start in the build's pod: {why}",
            hint="without root it needs user namespaces on the node, and a pod without seccomp and AppArmor "
            "profiles: see docs/jobs-from-code.md",
        )
    last = _failure_in(said)
    if (
        "load remote build context" in last
        or "failed to read downloaded context" in last
        or ("invalid response status" in last)
    ):
        return BuildError(
            f"the build's pod cannot read its context: {last}",
            hint="the cluster must reach builder.build-context-store, and the agent may read from it",
            retryable=True,
        )
    return None


def failure(said: str) -> LaunchError:
    """The error of a build that the daemon ended, by the end of its log."""
    last = _failure_in(said)
    text = f"the build failed: {last}"
    words = last.lower()
    if found := _EXIT_CODE.search(last):
        if "137" in (found["code"] or "") or "memory" in (found["why"] or ""):
            return BuildError(
                text, hint="a step was killed, as a rule for want of memory: give the builder more"
            )
        return BuildError(text, hint="the log shows what that step printed; it is the job's own")
    if "no space left" in words or "disk quota" in words:
        return BuildError(text, hint="make room on the builder's disk (buildctl prune)")
    if "is not allowed" in words:
        return BuildError(text, hint="builds of jobs get neither the host's network nor privileges")
    if "failed to push" in words or "exporting" in words:
        return _not_pushed(last)
    if "failed to resolve source metadata" in words or "failed to load cache key" in words or "pull" in words:
        return BuildError(
            text,
            hint="is the Dockerfile's base image there, and does the agent's Docker config open it?",
            retryable=_AWAY.search(last) is not None and not _DENIED.search(last),
        )
    if "oauth token" in words:
        return RegistryDenied(text, hint="the agent's credentials for that registry are not accepted")
    return BuildError(text, hint="the log shows which step it was")


def _not_pushed(last: str) -> LaunchError:
    text = f"the image cannot be pushed: {last}"
    if _DENIED.search(last):
        return RegistryDenied(
            text, hint="the agent's credentials must be allowed to push to builder.destination"
        )
    if _AWAY.search(last):
        return RegistryUnavailable(
            text,
            hint="the daemon must reach the registry, and trust its certificate (its own buildkitd.toml)",
        )
    return BuildError(text, hint="does the repository of builder.destination exist?")


def _failure_in(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    found = next((line for line in reversed(lines) if line.startswith(_ERROR)), lines[-1] if lines else "")
    return found.removeprefix(_ERROR) or "it says nothing"
