"""Google Cloud as the agent may use it: the credentials that `google.auth.default` finds.

They are looked for anew at each call, so that a key file renewed under a running agent is read. On GKE and
Compute Engine the metadata server lends them.

Pitfall: outside of Google's machines the search ends with a question to a metadata server that is not there;
google-auth gives up after a few seconds (GCE_METADATA_TIMEOUT).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import google.auth
import google.auth.transport.urllib3
import urllib3
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError

from launch_agent.clients.cloud_faults import Cause, understand
from launch_agent.errors import CloudError
from launch_agent.spec.podpatch import PodPatch

# One scope opens what the account's roles allow; narrower ones exist for few services only.
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_CONNECT, _READ = 10.0, 30.0


class GcpEnvironment:
    """`project` and `region` are where the agent works, whatever project its credentials come from."""

    type = "gcp"

    def __init__(self, project: str, region: str) -> None:
        self.project = project
        self.region = region

    def session(self) -> Credentials:
        """Fresh credentials, not yet asked for a token. Raises CloudError where there are none."""
        try:
            found, _ = google.auth.default(scopes=[SCOPE])
        except (GoogleAuthError, OSError, ValueError) as error:
            raise _refused("find Google Cloud credentials", error) from error
        return found

    def verify(self) -> None:
        """Ask for an access token, which needs no permission. Raises CloudError."""
        credentials = self.session()
        try:
            credentials.refresh(request())
        except (GoogleAuthError, OSError, ValueError) as error:
            raise _refused("get an access token of Google Cloud", error) from error

    def build_pod(self) -> PodPatch:
        """Nothing: workload identity belongs to the pod's service account."""
        return PodPatch()


def request() -> google.auth.transport.urllib3.Request:
    """How google-auth speaks HTTP: with timeouts, and few retries, which it does itself."""
    timeout = urllib3.Timeout(connect=_CONNECT, read=_READ)
    return google.auth.transport.urllib3.Request(urllib3.PoolManager(timeout=timeout, retries=1))


def _refused(doing: str, error: Exception) -> CloudError:
    fault = understand(error)
    # google-auth says "transport" for a metadata server that is not there.
    hint = {
        Cause.NO_CREDENTIALS: "give the agent's service account a workload identity (GKE), or credentials as "
        "google-auth reads them (GOOGLE_APPLICATION_CREDENTIALS, gcloud auth application-default login)",
        Cause.BAD_CREDENTIALS: "Google does not accept the credentials that were found: renew them, and see "
        "that the service account is not disabled",
        Cause.UNREACHABLE: "can the agent reach oauth2.googleapis.com, or its metadata server?",
    }.get(fault.cause, "GOOGLE_APPLICATION_CREDENTIALS must name a readable key file or federation config")
    return CloudError(f"cannot {doing}: {fault.message}", hint=hint, retryable=fault.is_retryable)


def create(options: Mapping[str, Any]) -> GcpEnvironment:
    """`options` is the config's `environment` part."""
    return GcpEnvironment(options["project"], options["region"])
