"""One build by a BuildKit daemon that runs elsewhere, asked through the program `buildctl`.

The daemon takes a build over a session in which it asks its client in turn for files, credentials and
secrets; `buildctl` is that client, a single file without dependencies. What it does for us no library for
Python does, and Docker's engine or buildx would bring an engine's privileges along. Files travel as the
daemon asks for them, so those that it has already do not.

A build ends with its client: the daemon cancels it when the connection closes, whatever became of the agent.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from launch_agent.builders import program
from launch_agent.builders.attempt import Attempt
from launch_agent.builders.buildkit import faults, folder, handshake, solve
from launch_agent.builders.buildkit.folder import Folder
from launch_agent.builders.buildkit.settings import Settings
from launch_agent.builders.pushing import Pushing
from launch_agent.clients.oci.client import is_loopback
from launch_agent.errors import BuildError, LaunchError
from launch_agent.registries import Registry
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef

_log = logging.getLogger(__name__)
_PROGRAM = "buildctl"
_WITHHELD = ("WANDB_API_KEY", "LAUNCH_AGENT_API_KEY")
_CONNECT_SECONDS = 10
_RENEW_SECONDS = 30.0
# The first release that answers `debug info` and knows all that a build is told.
_OLDEST = (0, 13)


class DaemonBuilder(Pushing):
    """Builds with the daemon at `settings.address`. `environment` is the process's variables."""

    has_mounts = True

    def __init__(
        self,
        agent: str,
        registry: Registry,
        settings: Settings,
        environment: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(registry)
        self._agent = agent
        self._settings = settings
        self._environment = {name: value for name, value in environment.items() if name not in _WITHHELD}
        self._clock = clock

    def verify(self) -> None:
        """Raise BuildError where the daemon cannot be used: not reached, not trusted, too old, or unable to
        build for the platform that the config names."""
        if self._settings.address.startswith("tcp://") and not self._settings.tls:
            host = urlsplit(self._settings.address).netloc
            if not is_loopback(host):
                _log.warning("code and credentials travel to BuildKit at %s unencrypted (buildkit-tls)", host)
        info = self._asked("info", "--format={{json .}}")
        version = str((info.get("buildkitVersion") or {}).get("version", ""))
        found = re.match(r"v?(\d+)\.(\d+)", version)
        if found and (int(found[1]), int(found[2])) < _OLDEST:
            raise BuildError(
                f"the BuildKit daemon at {self._settings.address} is {version}, which is too old",
                hint=f"v{_OLDEST[0]}.{_OLDEST[1]} or newer is needed",
            )
        workers = self._asked("workers", "--format={{json .}}")
        platforms = {_platform(each) for worker in workers for each in worker.get("platforms") or ()}
        if not workers:
            raise BuildError(
                f"the BuildKit daemon at {self._settings.address} has no worker",
                hint="its log says why: as a rule runc or containerd is missing",
            )
        if self._settings.platform and self._settings.platform not in platforms:
            raise BuildError(
                f"the BuildKit daemon at {self._settings.address} cannot build for "
                f"{self._settings.platform}, only for {', '.join(sorted(platforms))}",
                hint="change builder.platform, or install emulators where the daemon runs",
            )
        self._registry.verify()

    def build(
        self, context: BuildContext, ref: ImageRef, *, log: Callable[[str], None], stop: threading.Event
    ) -> ImageRef:
        attempt = Attempt(log=log, stop=stop, timeout=self._settings.timeout, clock=self._clock)
        try:
            with folder.private(self._agent, ref.host, self._registry.credentials) as place:
                return self._build(context, ref, place, attempt)
        except BuildError as error:
            error.log = error.log or attempt.tail
            raise

    def sweep(self) -> None:
        """Remove the folders of earlier processes. Their builds ended with them."""
        if removed := folder.sweep(self._agent):
            _log.info("removed what %d earlier builds left", removed)

    def close(self) -> None:
        """Nothing is kept open between builds."""

    def _build(self, context: BuildContext, ref: ImageRef, place: Folder, attempt: Attempt) -> ImageRef:
        place.prepare(self._environment)
        told = solve.arguments(
            context,
            ref,
            self._settings,
            folder=str(context.directory),
            metadata=str(place.metadata),
            secrets=self._settings.secrets,
        )
        due = self._clock() + _RENEW_SECONDS

        def check() -> None:
            nonlocal due
            attempt.check()
            if self._clock() > due:
                due = self._clock() + _RENEW_SECONDS
                _renew(place)

        try:
            code = program.follow(
                [*self._client(), *told],
                environment=place.environment(self._environment),
                line=attempt.line,
                check=check,
            )
        except OSError as error:
            raise BuildError(f"{_PROGRAM} cannot be started: {error}", retryable=True) from error
        if code:
            raise self._failure(attempt.tail)
        digest = place.digest(solve.DIGEST)
        if not digest:
            raise BuildError("the build ended well, and its image has no digest", retryable=True)
        return ImageRef(host=ref.host, path=ref.path, tag=ref.tag, digest=digest)

    def _failure(self, said: str) -> LaunchError:
        if not faults.is_lost(said):
            return faults.failure(said)
        why = self._unreachable(said)
        if not said.startswith("#") and "\n#" not in said:
            return why  # it never began
        return BuildError(
            f"the connection to BuildKit was lost during the build: {why.message}",
            hint=why.hint,
            retryable=True,
        )

    def _asked(self, *question: str) -> Any:
        """The answer of `buildctl debug`. Raises BuildError where there is none."""
        command = [*self._client(), "debug", *question]
        try:
            done = subprocess.run(  # noqa: S603 - the admin's address and files
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=3 * _CONNECT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise faults.unreachable(self._settings.address, "context deadline exceeded") from None
        except OSError as error:
            raise BuildError(f"{_PROGRAM} cannot be started: {error}") from error
        if done.returncode:
            raise self._unreachable(done.stderr or done.stdout)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise faults.unreachable(self._settings.address, f"an answer that is no JSON: {error}") from error

    def _unreachable(self, said: str) -> BuildError:
        if self._settings.tls and faults.is_broken_off(said):
            said = handshake.refusal(self._settings.address, self._settings.tls) or said
        return faults.unreachable(self._settings.address, said)

    def _client(self) -> list[str]:
        found = shutil.which(_PROGRAM, path=self._environment.get("PATH"))
        if found is None:
            raise BuildError(
                f"the builder 'buildkit' speaks to its daemon through {_PROGRAM}, which is not installed",
                hint=f"put {_PROGRAM} of a BuildKit release on the agent's PATH",
            )
        tls = self._settings.tls
        files = {f"buildkit-tls.{name}": getattr(tls, name) for name in ("ca", "cert", "key")}
        files |= {f"build-secrets.{name}": file for name, file in self._settings.secrets.items()}
        for key, file in files.items():
            if file and not os.access(file, os.R_OK):
                raise BuildError(
                    f"the file {file} cannot be read, which builder.{key} names",
                    hint="is it there, and may the agent's user read it?",
                )
        flags = {
            "--tlscacert": tls.ca,
            "--tlscert": tls.cert,
            "--tlskey": tls.key,
            "--tlsservername": tls.server_name,
        }
        return [
            found,
            f"--addr={self._settings.address}",
            f"--timeout={_CONNECT_SECONDS}",
            *(f"{flag}={value}" for flag, value in flags.items() if value),
        ]


def _renew(place: Folder) -> None:
    """A registry's cloud that is away for a moment ends no build: the credentials at hand may still do."""
    try:
        place.renew()
    except LaunchError as error:
        _log.warning("the registry's credentials cannot be renewed: %s", error)


def _platform(told: Mapping[str, Any]) -> str:
    return f"{told.get('os', '')}/{told.get('architecture', '')}"
