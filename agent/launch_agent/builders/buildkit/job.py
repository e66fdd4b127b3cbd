"""A build by a Job with a BuildKit of its own; the rest of it is that of builders.jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from launch_agent.builders import Parts
from launch_agent.builders.buildkit import faults
from launch_agent.builders.buildkit.manifest import CONTAINER, OVERLAY_KEY, compose, opening
from launch_agent.builders.buildkit.settings import Settings
from launch_agent.builders.jobs.builder import JobBuilder
from launch_agent.builders.jobs.follow import End, ended_by_the_cluster
from launch_agent.builders.jobs.manifest import Build
from launch_agent.clients.kube.api import KubeApi
from launch_agent.errors import BuildError, LaunchError
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret
from launch_agent.telemetry.redact import redact

# A pod may wait for a node before it reads its context.
_WAIT_SECONDS = 3600.0
_LARGEST_SECRET = 512 * 1024


class BuildkitJobBuilder(JobBuilder):
    """Builds in the agent's own namespace. `connect` says how the cluster is reached."""

    has_mounts = True
    container = CONTAINER
    image_key = "builder.buildkit-image"

    def __init__(self, connect: Callable[[], KubeApi], parts: Parts, settings: Settings) -> None:
        super().__init__(connect, parts)
        self._settings = settings

    def compose(self, context: BuildContext, ref: ImageRef, uri: str, key: str, namespace: str) -> Build:
        link = self._store.link(key, self._settings.timeout + _WAIT_SECONDS)
        patch = PodPatch() if link else self._store.build_pod()
        if not self._settings.push_secret:
            patch += opening(ref.host, self._registry.credentials())
        return compose(
            context,
            ref,
            uri,
            link,
            patch,
            self._settings,
            secrets=_read(self._settings.secrets),
            agent=self._agent,
            namespace=namespace,
        )

    def explain(self, end: End, log: str) -> LaunchError:
        said = log or redact(end.message)
        text = f"the build failed{f' with exit code {end.exit_code}' if end.exit_code is not None else ''}"
        known = ended_by_the_cluster(end, text, overlay_key=OVERLAY_KEY)
        return known or faults.not_started(said) or faults.failure(said)


def _read(files: Mapping[str, str]) -> dict[str, Secret]:
    found = {}
    for name, file in files.items():
        try:
            content = Path(file).read_bytes()
            found[name] = Secret(content.decode())
        except (OSError, UnicodeDecodeError) as error:
            raise BuildError(
                f"the file {file} cannot be read, which builder.build-secrets.{name} names: {error}",
                hint="is it there, and may the agent's user read it?",
            ) from error
        if len(content) > _LARGEST_SECRET:
            raise BuildError(
                f"the file {file} is too large for a build's Secret",
                hint="builder.build-secrets is for credentials",
            )
    return found
