"""Google Artifact Registry, and the older gcr.io hosts: the password is an access token of Google Cloud.

Pitfall: what does not exist is answered like what is not allowed, so a refusal may be a wrong name.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Mapping
from typing import Any

import google.auth.transport.urllib3
import urllib3
from google.auth.exceptions import GoogleAuthError

from launch_agent.clients.cloud_faults import understand
from launch_agent.errors import ConfigError, RegistryDenied, RegistryUnavailable
from launch_agent.registries import Cloud, pod
from launch_agent.registries.remote import RemoteRegistry
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret

# The user that Google's registries expect beside an access token.
_USER = "oauth2accesstoken"
_HELPER = "gcr"
_CONNECT, _READ = 10.0, 30.0
_HINT = (
    "the agent's account needs artifactregistry.repositories.downloadArtifacts and "
    "artifactregistry.repositories.uploadArtifacts on {repository} (role roles/artifactregistry.writer); "
    "check the project's and the repository's names too"
)

_NOBODY = "Google does not accept the credentials that the agent found: renew them"


class GarRegistry(RemoteRegistry):
    """A repository of Artifact Registry, as the environment's credentials open it."""

    def __init__(self, uri: str, environment: Cloud, *, clock: Callable[[], float] = time.time) -> None:
        self._environment = environment
        super().__init__(uri, self._token, clock=clock)

    def verify(self) -> None:
        self.check(_HINT.format(repository=self.repository))

    def build_pod(self) -> PodPatch:
        return pod.with_helper(self.host, _HELPER)

    def _token(self) -> Credentials:
        credentials = self._environment.session()
        timeout = urllib3.Timeout(connect=_CONNECT, read=_READ)
        manager = urllib3.PoolManager(timeout=timeout, retries=1)
        try:
            credentials.refresh(google.auth.transport.urllib3.Request(manager))
        except (GoogleAuthError, OSError, ValueError) as error:
            fault = understand(error)
            message = f"cannot get an access token for {self.host}: {fault.message}"
            if fault.is_retryable:
                raise RegistryUnavailable(message) from error
            raise RegistryDenied(message, hint=_NOBODY) from error
        finally:
            manager.clear()
        # google-auth gives times without a zone, in UTC.
        expires = float(calendar.timegm(credentials.expiry.timetuple())) if credentials.expiry else None
        return Credentials(
            host=self.host, username=_USER, password=Secret(credentials.token), expires=expires
        )


def create(destination: str, environment: Cloud | None, options: Mapping[str, Any]) -> GarRegistry:
    if environment is None or environment.type != "gcp":
        raise ConfigError(
            f"the registry of {destination} needs an environment of type 'gcp'",
            path="environment",
            hint="write environment: {type: gcp, region: …, project: …}",
        )
    return GarRegistry(destination, environment)
