"""What all registries have in common: credentials that are kept while good, and one look at a manifest.

A kind brings a function that gets fresh credentials; this file asks it again shortly before they end, hides
them from the log while they are in use, and answers through the one OCI client.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from launch_agent.clients.http import HttpSettings
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import RegistryDenied, RegistryError
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.telemetry import redact

# Seconds. A push that begins with a token must not outlive it by much; a cloud's last an hour or more.
MARGIN = 300.0
# What does not say when it ends is looked for again after this: a file may have been renewed.
_KEPT = 300.0


class RemoteRegistry:
    """The repository at `uri` (`host[:port]/path`), opened by what `fetch` brings.

    `clock` is seconds since the epoch. `plain` allows HTTP where the registry has no TLS.
    """

    def __init__(
        self,
        uri: str,
        fetch: Callable[[], Credentials | None],
        *,
        plain: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ref = ImageRef.parse(uri).canonical()
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[Credentials | None, float] = (None, 0.0)
        settings = HttpSettings(environment=os.environ)
        self.client = RegistryClient(
            self._ref.host, credentials=self.credentials, settings=settings, plain=plain
        )
        self.contents = Repository(self.client, self._ref.path)

    @property
    def host(self) -> str:
        return self._ref.host

    @property
    def repository(self) -> str:
        return self._ref.repository

    def credentials(self) -> Credentials | None:
        """Kept until five minutes before they end. Raises RegistryError where there can be none."""
        with self._lock:
            found, until = self._known
            if self._clock() < until:
                return found
            fresh = self._fetch()
            now = self._clock()
            ends = fresh.expires if fresh is not None else None
            # Half of what is short-lived: it must not be fetched at every single call.
            until = now + _KEPT if ends is None else max(ends - MARGIN, now + (ends - now) / 2)
            if fresh is not None:
                redact.hide(fresh.password)
            if found is not None:
                redact.forget(found.password)
            self._known = (fresh, until)
            return fresh

    def exists(self, ref: ImageRef) -> str:
        """The digest of the image's manifest; empty where there is no such image.

        Some registries (Docker Hub, GHCR) deny what does not exist and is made by the first push: whoever
        may push there finds nothing.
        """
        place = self.place_of(ref)
        try:
            found = place.head(ref.digest or ref.tag or "latest")
        except RegistryDenied as error:
            if not self._may_push(place):
                raise error from None
            return ""
        return found.digest if found is not None else ""

    def _may_push(self, place: Repository) -> bool:
        if self.credentials() is None:
            return False
        try:
            place.check_push()
        except RegistryDenied:
            return False
        return True

    def place_of(self, ref: ImageRef) -> Repository:
        """The repository of a reference of this registry. Raises RegistryError for another's."""
        whole = ref.canonical()
        if whole.host != self.host:
            raise RegistryError(f"{ref} is not in the registry {self.host}")
        return self.contents if whole.path == self.contents.path else Repository(self.client, whole.path)

    def check(self, hint: str = "") -> None:
        """Raise RegistryError where images cannot be looked for and pushed. `hint` names the right that is
        needed, for registries that do not."""
        try:
            self.contents.check_push()
            # No image has this tag; looking for it takes the right to read.
            self.exists(ImageRef.parse(f"{self.repository}:launch-agent-verify"))
        except RegistryDenied as error:
            if not hint:
                raise
            raise RegistryDenied(error.message, hint=hint) from error

    def close(self) -> None:
        self.client.close()
