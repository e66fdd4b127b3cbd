"""A build by kaniko: what its Job is told, and what its last words mean.

Pitfall: kaniko leaves the archive that it fetched from S3 among the files of the context, and so in an image
that takes them all. A list of ignored files that goes with the context keeps it out.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from itertools import chain

from launch_agent.builders import Parts
from launch_agent.builders.jobs.builder import JobBuilder
from launch_agent.builders.jobs.follow import End, ended_by_the_cluster
from launch_agent.builders.jobs.manifest import Build
from launch_agent.builders.kaniko.manifest import CONTAINER, OVERLAY_KEY, compose
from launch_agent.builders.kaniko.settings import Settings
from launch_agent.clients.kube.api import KubeApi
from launch_agent.errors import BuildError, LaunchError, RegistryDenied
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.podpatch import PodPatch

_AZURE_KEY = "AZURE_STORAGE_ACCESS_KEY"
# How long a pod may wait for a node.
_WAIT_SECONDS = 3600.0
# How kaniko names what it fetches.
_FETCHED = "context.tar.gz"


class KanikoBuilder(JobBuilder):
    """Builds in the agent's own namespace. `connect` says how the cluster is reached."""

    container = CONTAINER
    image_key = "builder.kaniko-image"

    def __init__(self, connect: Callable[[], KubeApi], parts: Parts, settings: Settings) -> None:
        super().__init__(connect, parts)
        self._settings = settings

    def verify(self) -> None:
        """Also where the pod would have nothing that opens Azure's store."""
        super().verify()
        if self._lacks_key() and not self._settings.fetch_image:
            raise BuildError(
                "kaniko reads build contexts from Azure by the storage account's key only, and has none",
                hint="name a Secret with it (builder.secret-name), or the agent's image in "
                "LAUNCH_AGENT_IMAGE, which fetches contexts otherwise, or keep them in a volume claim",
            )

    def _lacks_key(self) -> bool:
        if self._settings.cloud != "azure" or self._settings.secret or self._settings.azure_secret:
            return False
        given = (self._settings.overlay, self._store.build_pod().env)
        return _AZURE_KEY not in str(given)

    def compose(self, context: BuildContext, ref: ImageRef, uri: str, key: str, namespace: str) -> Build:
        patch = self._environment.build_pod() if self._environment is not None else PodPatch()
        patch = patch + self._store.build_pod() + self._registry.build_pod()
        link = None
        if self._lacks_key() and self._settings.fetch_image:
            link = self._store.link(key, self._settings.timeout + _WAIT_SECONDS)
        return compose(
            context, ref, uri, patch, self._settings, agent=self._agent, namespace=namespace, link=link
        )

    def packed(self, context: BuildContext) -> Iterable[bytes]:
        return chain([_ignore_list(context)], super().packed(context))

    def explain(self, end: End, log: str) -> LaunchError:
        return failure(end, log)


def _ignore_list(context: BuildContext) -> bytes:
    """The beginning of a tar archive. The job's own list for its Dockerfile comes later and takes its place;
    that for all of them is part of ours, which goes before it."""
    name = f"{context.dockerfile}.dockerignore"
    general = context.directory / ".dockerignore"
    theirs = general.read_bytes() if general.is_file() else b""
    text = b"%s\n/%s\n/%s\n" % (theirs, _FETCHED.encode(), name.encode())
    info = tarfile.TarInfo(name)
    info.size = len(text)
    whole = io.BytesIO()
    tar = tarfile.TarFile(fileobj=whole, mode="w", format=tarfile.PAX_FORMAT)
    tar.addfile(info, io.BytesIO(text))
    # Not closed: what follows is the rest of the archive.
    return whole.getvalue()


def failure(end: End, log: str) -> LaunchError:
    """The error of a build that ended badly, by its last words."""
    words = f"{end.message}\n{log}"[-20_000:].lower()
    text = f"the build failed{f' with exit code {end.exit_code}' if end.exit_code is not None else ''}"
    last = next((line for line in reversed(log.splitlines()) if line.strip()), end.message)
    if (known := ended_by_the_cluster(end, text, overlay_key=OVERLAY_KEY)) is not None:
        return known
    if "error checking push permissions" in words or ("pushing image" in words and "unauthorized" in words):
        return RegistryDenied(
            f"{text}: {last}",
            hint="the build's account or Secret must be allowed to push to builder.destination",
        )
    if "failed to get files from" in words or "error resolving source context" in words:
        return BuildError(
            f"{text}: {last}",
            hint="the build's account or secret-name must be allowed to read builder.build-context-store",
        )
    return BuildError(f"{text}: {last}", hint="the log shows which step it was")
