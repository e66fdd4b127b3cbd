"""Amazon ECR: the password is a token of AWS, good for twelve hours; images are found by its own API.

That API (`DescribeImages`) is what the documented policy allows; a HEAD on the manifest would need
`ecr:BatchGetImage` as well. Where a policy has that one in place of the other, the HEAD is the second try.

Pitfalls: a repository must exist before the first push. Its account may be another one than the agent's. Only
the name may be known, and then STS tells the account.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from launch_agent.clients.cloud_faults import Cause, Fault, understand
from launch_agent.config.destination import of_ecr, parse
from launch_agent.errors import (
    ConfigError,
    RegistryDenied,
    RegistryError,
    RegistryNotFound,
    RegistryUnavailable,
)
from launch_agent.registries import Cloud, pod
from launch_agent.registries.remote import RemoteRegistry
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret

_HELPER = "ecr-login"
# A client is kept for so many seconds: making one reads megabytes of API descriptions.
_CLIENT_SECONDS = 900.0


class EcrRegistry:
    """A repository of ECR. `destination` is its URI, or its name alone; with `makes` it is created."""

    def __init__(
        self,
        destination: str,
        environment: Cloud,
        *,
        makes: bool = False,
        role: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._destination = destination
        self._environment = environment
        self._makes = makes
        self._role = role
        self._clock = clock
        self._lock = threading.RLock()
        self._remote: RemoteRegistry | None = None
        self._client: tuple[Any, float] = (None, 0.0)

    @property
    def repository(self) -> str:
        """Asks AWS for the account where the config does not tell it."""
        return self._there().repository

    def verify(self) -> None:
        self.credentials()
        there = self._there()
        try:
            self._call("describe_repositories", repositoryNames=[there.contents.path])
        except RegistryNotFound as error:
            if not self._makes:
                name = there.contents.path
                raise RegistryNotFound(
                    error.message,
                    hint=f"aws ecr create-repository --repository-name {name} "
                    f"--region {self._environment.region}, or set registry.create: true",
                ) from error
            self._create(there.contents.path)

    def exists(self, ref: ImageRef) -> str:
        there = self._there()
        path = there.place_of(ref).path
        identifier = {"imageDigest": ref.digest} if ref.digest else {"imageTag": ref.tag or "latest"}
        try:
            found = self._call("describe_images", repositoryName=path, imageIds=[identifier])
        except RegistryNotFound:
            return ""
        except RegistryDenied as error:
            try:
                return there.exists(ref)
            except RegistryDenied:
                raise error from error
        details = found.get("imageDetails") or [{}]
        return str(details[0].get("imageDigest", ""))

    def credentials(self) -> Credentials | None:
        return self._there().credentials()

    def build_pod(self) -> PodPatch:
        there = self._there()
        if self._role:  # the pod's identity is not the one that may push
            return pod.with_credentials(there.host, there.credentials())
        return pod.with_helper(there.host, _HELPER)

    def close(self) -> None:
        with self._lock:
            if self._remote is not None:
                self._remote.close()

    def _there(self) -> RemoteRegistry:
        with self._lock:
            if self._remote is None:
                uri = self._destination if _has_host(self._destination) else self._named()
                self._remote = RemoteRegistry(uri, self._token, clock=self._clock)
            return self._remote

    def _named(self) -> str:
        session = self._environment.session()
        try:
            account = session.client("sts").get_caller_identity()["Account"]
        except (ClientError, BotoCoreError) as error:
            raise _refused("ask AWS for the account of the repository", understand(error), "") from error
        return of_ecr(account=account, region=self._environment.region, repository=self._destination)

    def _token(self) -> Credentials:
        answer = self._call("get_authorization_token")
        data = answer["authorizationData"][0]
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        expires = data["expiresAt"].timestamp()
        return Credentials(host=self._there().host, username=user, password=Secret(password), expires=expires)

    def _create(self, name: str) -> None:
        try:
            self._call("create_repository", repositoryName=name)
        except RegistryError as error:
            if "RepositoryAlreadyExistsException" not in error.message:
                raise

    def _call(self, operation: str, **arguments: Any) -> Any:
        """One request to the registry of the repository's account. Raises RegistryError."""
        action = f"ecr:{''.join(part.capitalize() for part in operation.split('_'))}"
        if arguments:
            arguments["registryId"] = self._account()
        name = arguments.get("repositoryName") or next(iter(arguments.get("repositoryNames", ())), "")
        resource = f"repository/{name}" if name else "*"
        try:
            return getattr(self._api(), operation)(**arguments)
        except (ClientError, BotoCoreError) as error:
            doing = f"ask ECR for {self._destination} ({action})"
            raise _refused(doing, understand(error), f"{action} on {resource}") from error

    def _account(self) -> str:
        return self._there().host.partition(".")[0]

    def _api(self) -> Any:
        with self._lock:
            client, until = self._client
            if client is None or self._clock() >= until:
                there = self._there()
                region = parse(there.repository).region or self._environment.region
                settings = Config(use_fips_endpoint=True) if "ecr-fips" in there.host else None
                client = self._environment.session().client("ecr", region_name=region, config=settings)
                self._client = (client, self._clock() + _CLIENT_SECONDS)
            return client


def _has_host(destination: str) -> bool:
    return bool(ImageRef.parse(destination).host)


def _refused(doing: str, fault: Fault, right: str) -> RegistryError:
    message = f"cannot {doing}: {fault.message}"
    if fault.cause is Cause.DENIED:
        return RegistryDenied(message, hint=f"allow {right} to the agent's identity" if right else "")
    if fault.cause in (Cause.NO_CREDENTIALS, Cause.BAD_CREDENTIALS):
        return RegistryDenied(message, hint="are the agent's AWS credentials in order?")
    if fault.cause is Cause.ABSENT or fault.code in ("ImageNotFoundException", "RepositoryNotFoundException"):
        return RegistryNotFound(message)
    if fault.is_retryable:
        return RegistryUnavailable(message)
    return RegistryError(message)


def create(destination: str, environment: Cloud | None, options: Mapping[str, Any]) -> EcrRegistry:
    if environment is None or environment.type != "aws":
        raise ConfigError(
            f"the registry of {destination} needs an environment of type 'aws'",
            path="environment",
            hint="write environment: {type: aws, region: …}",
        )
    role = str(getattr(environment, "role", ""))
    return EcrRegistry(destination, environment, makes=bool(options.get("create", False)), role=role)
