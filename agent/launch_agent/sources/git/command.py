"""Runs Git: no terminal, a deadline, an end for all of its processes, and errors that say what to do.

Git starts ssh, curl's helper and a packer in processes of its own; they share its process group, which is
killed as one. What Git says goes to files with a limit: a server can send as many words as it likes.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from launch_agent.errors import SourceDenied, SourceError, SourceNotFound
from launch_agent.sources.git.remote import redacted

_PAUSE = 0.2
_GRACE = 2.0
# Far more than the list of all branches and tags of any repository.
_MOST_OUTPUT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """Runs Git commands in `directory`. `until` is a moment of `time.monotonic`; `what` names the repository
    in errors. With `stop` set a command ends soon, with SourceError."""

    directory: Path
    environment: Mapping[str, str] = field(repr=False)
    what: str
    until: float
    timeout: float
    stop: threading.Event

    def run(self, *arguments: str, doing: str) -> str:
        """What the command printed. Raises SourceError and its kinds; `doing` says what was tried."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self._wait(arguments, out, err, doing)
            if code == 0:
                return _text(out)
            raise explain(_text(err), f"{doing} of {self.what}")

    def succeeds(self, *arguments: str) -> bool:
        """Whether a command that asks about what is here already says yes."""
        try:
            self.run(*arguments, doing="looking into the repository")
        except SourceError:
            return False
        return True

    def _wait(self, arguments: Sequence[str], out: IO[bytes], err: IO[bytes], doing: str) -> int:
        try:
            process = subprocess.Popen(  # noqa: S603 - the arguments are ours, or checked by Remote and refs
                ["git", *arguments],  # noqa: S607 - whichever Git the machine has
                cwd=self.directory,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except OSError as error:
            raise SourceError(
                f"{doing} of {self.what}: Git cannot be started: {error.strerror}",
                hint="install git where the agent runs",
            ) from error
        try:
            return self._watch(process, (out, err), doing)
        finally:
            _end(process)

    def _watch(self, process: subprocess.Popen[bytes], output: Sequence[IO[bytes]], doing: str) -> int:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=_PAUSE)
            if self.stop.is_set():
                raise SourceError(f"{doing} of {self.what} was stopped")
            if time.monotonic() > self.until:
                raise SourceError(
                    f"{doing} of {self.what} did not end within {self.timeout:g} s",
                    hint="the server is slow or out of reach, or the repository is very large",
                    retryable=True,
                )
            if any(os.fstat(each.fileno()).st_size > _MOST_OUTPUT for each in output):
                raise SourceError(f"{doing} of {self.what}: the server sent more text than a repository has")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the process group; the leader's own end is awaited."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE)
            if number is signal.SIGKILL:
                return
        if not _group_lives(process.pid):
            return


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_MOST_OUTPUT).decode("utf-8", "replace")


# What Git, ssh and curl say (in the C locale), and what it means; the first that fits is taken.
_HOST_KEY = "add the server's key to known_hosts (in the chart: knownHosts); `ssh-keyscan HOST` prints it"
_CREDENTIALS = (
    "give the agent credentials for this host: a credentials file for https (in the chart: gitCreds), "
    "a key for ssh (sshAuthSecrets)"
)
_MEANINGS: tuple[tuple[str, type[SourceError], str, str, bool], ...] = (
    (r"no space left on device|disk quota exceeded", SourceError, "there is no space left on the disk",
     "give the agent's temporary folder more space", False),
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed", SourceError,
     "the server's host key is not the one in known_hosts", _HOST_KEY, False),
    (r"host key verification failed|no .* host key is known", SourceError,
     "the server's host key is not known", _HOST_KEY, False),
    (r"transport '.*' not allowed", SourceError, "it leads to an address that is neither https nor ssh",
     "use https or ssh, for submodules too", False),
    (r"permission denied \(|authentication failed|could not read (username|password)|access denied"
     r"|returned error: 40[13]|http basic|unable to read askpass", SourceDenied,
     "the server does not let us in", _CREDENTIALS, False),
    (r"repository .*not found|does not appear to be a git repository|returned error: 404|project you were "
     r"looking for could not be found|repository not exported|no such file or directory", SourceNotFound,
     "the server has no such repository, or does not show it to us",
     f"check the address; where the repository is private, {_CREDENTIALS}", False),
    (r"not our ref|unadvertised object|couldn't find remote ref|remote ref .* not found", SourceNotFound,
     "the repository has no such branch, tag or commit", "check that it was pushed", False),
    (r"certificate", SourceError, "the server's certificate is not trusted",
     "name its certificate authority in SSL_CERT_FILE (in the chart: customCABundle)", False),
    (r"could not resolve (host|proxy)|name or service not known|temporary failure in name", SourceError,
     "the server's name cannot be resolved", "check the address, DNS and proxy", True),
    (r"connection refused|timed? ?out|connection reset|network is unreachable|no route to host|early eof"
     r"|rpc failed|hung up|failed to connect|couldn't connect|returned error: (429|5\d\d)|operation too slow"
     r"|connection closed|gnutls|ssl_|tls", SourceError, "the server does not answer, or not to the end",
     "it may do so later", True),
)  # fmt: skip


def explain(said: str, trying: str) -> SourceError:
    """What Git said as an error of ours: what was tried, why it failed, what to change."""
    said = redacted(said).strip()
    for pattern, kind, why, hint, retryable in _MEANINGS:
        if re.search(pattern, said, re.IGNORECASE):
            return kind(f"{trying}: {why} ({_last_words(said)})", hint=hint, retryable=retryable)
    return SourceError(f"{trying}: {_last_words(said) or 'Git failed and did not say why'}")


def _last_words(said: str) -> str:
    """The line that says the most: Git's fatal one, else the last; a few hundred characters."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.lower().startswith(("fatal:", "error:", "remote: error"))]
    chosen = (telling or lines or [""])[0 if telling else -1]
    return "".join(character for character in chosen if character.isprintable())[:300]
