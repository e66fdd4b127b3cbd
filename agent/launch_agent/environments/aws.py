"""AWS as the agent may use it: the credentials that boto3 finds, and a role above them if there is one.

Credentials are looked for anew every few minutes, so that files renewed under a running agent are read; those
that AWS lends (a pod's web identity, an instance's role, the assumed role) are renewed by botocore. Each
session is a new one, since sessions are not safe to share between threads and their credentials are.

Pitfall: botocore would wait for ever, and try again four times, on an address that swallows packets; every
client made from a session here has short timeouts.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import JSONFileLoader, Loader

from launch_agent import __version__
from launch_agent.clients.cloud_faults import Cause, Fault, understand
from launch_agent.errors import CloudError
from launch_agent.spec.podpatch import PodPatch

# Seconds. An answer of STS or ECR takes one; an upload to S3 sends bytes all the time.
_CONNECT, _READ, _ATTEMPTS = 10, 60, 4
# How long credentials are used before they are looked for again.
_KEPT_SECONDS = 600.0
_SESSION_NAME = "launch-agent"


class AwsEnvironment:
    """`region` is where the agent works, empty for the one that boto3 finds; `role` the ARN of a role to
    assume, empty for none."""

    type = "aws"
    project = ""

    def __init__(
        self,
        region: str,
        *,
        role: str = "",
        external_id: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.region = region
        self.role = role
        self._external_id = external_id
        self._clock = clock
        self._lock = threading.Lock()
        self._descriptions: Loader | None = None
        self._found: Credentials | None = None
        self._until = 0.0

    def session(self) -> boto3.Session:
        """A new session. Raises CloudError where there are no credentials."""
        session = self._plain()
        session.register_component("credential_provider", CredentialResolver([_Given(self._credentials())]))
        return boto3.Session(botocore_session=session, region_name=self.region or None)

    def verify(self) -> None:
        """Ask STS who we are, which needs no permission. Raises CloudError."""
        session = self.session()
        try:
            session.client("sts").get_caller_identity()
        except (ClientError, BotoCoreError) as error:
            raise self._refused("ask AWS who the agent is (sts:GetCallerIdentity)", error) from error

    def build_pod(self) -> PodPatch:
        """The region, for whatever SDK builds: the identity is the pod's service account's."""
        names = ("AWS_REGION", "AWS_DEFAULT_REGION") if self.region else ()
        return PodPatch(env=[{"name": name, "value": self.region} for name in names])

    def _plain(self) -> botocore.session.Session:
        session = botocore.session.Session()
        if self._descriptions is None:
            self._descriptions = botocore.loaders.create_loader(os.environ.get("AWS_DATA_PATH"))
            self._descriptions.file_loader = _Brief()
        session.register_component("data_loader", self._descriptions)
        if self.region:
            session.set_config_variable("region", self.region)
        session.set_default_client_config(
            Config(
                connect_timeout=_CONNECT,
                read_timeout=_READ,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                user_agent_extra=f"launch-agent/{__version__}",
            )
        )
        return session

    def _credentials(self) -> Credentials:
        with self._lock:
            if self._found is None or self._clock() >= self._until:
                self._found = self._find()
                self._until = self._clock() + _KEPT_SECONDS
            return self._found

    def _find(self) -> Credentials:
        session = self._plain()
        doing = "find AWS credentials"
        try:
            found = session.get_credentials()
        except (ClientError, BotoCoreError) as error:
            raise self._refused(doing, error) from error
        if found is None:
            fault = Fault(cause=Cause.NO_CREDENTIALS, message="there are none")
            raise CloudError(f"cannot {doing}: {fault.message}", hint=self._hint(fault))
        if not self.role:
            return found
        extra = {"RoleSessionName": _SESSION_NAME}
        if self._external_id:
            extra["ExternalId"] = self._external_id
        fetcher = AssumeRoleCredentialFetcher(session.create_client, found, self.role, extra_args=extra)
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")

    def _refused(self, doing: str, error: Exception) -> CloudError:
        fault = understand(error)
        return CloudError(
            f"cannot {doing}: {fault.message}", hint=self._hint(fault), retryable=fault.is_retryable
        )

    def _hint(self, fault: Fault) -> str:
        if fault.cause is Cause.NO_CREDENTIALS:
            return (
                "give the agent a role (EKS: an annotated service account; EC2: an instance profile), or "
                "credentials as boto3 reads them (AWS_ACCESS_KEY_ID, AWS_PROFILE, ~/.aws/credentials)"
            )
        if fault.cause is Cause.BAD_CREDENTIALS:
            return "AWS does not accept the credentials that were found: renew them"
        if fault.cause is Cause.DENIED and self.role:
            return (
                f"the agent's identity must be allowed sts:AssumeRole on {self.role}, and the role trust it"
            )
        if fault.cause is Cause.UNREACHABLE:
            return f"is environment.region right ({self.region}), and can the agent reach AWS?"
        return ""


class _Brief(JSONFileLoader):  # type: ignore[misc] # botocore has no types
    """Descriptions of services without their prose, which is most of them: an agent is ten megabytes lighter
    for it. All sessions of an environment share what was read."""

    def load_file(self, file_path: str) -> Any:
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            if Path(file_path + ending).is_file():
                with opened(file_path + ending, "rb") as file:
                    return json.loads(file.read(), object_pairs_hook=_without_prose)
        return None


def _without_prose(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """`documentation` is prose where it is a text, and has to be there; else it is the name of a part."""
    return {
        sys.intern(key): "" if key == "documentation" and isinstance(value, str) else value
        for key, value in pairs
    }


class _Given(CredentialProvider):  # type: ignore[misc] # botocore has no types
    """Credentials that were found before: botocore's own way to give a session what is shared."""

    METHOD = "launch-agent"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Any:
        return self._credentials


def create(options: Mapping[str, Any]) -> AwsEnvironment:
    """`options` is the config's `environment` part."""
    return AwsEnvironment(
        options["region"], role=options.get("role", ""), external_id=options.get("external-id", "")
    )
