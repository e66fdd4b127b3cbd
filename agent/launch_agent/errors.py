"""Every error that a user can meet, in one tree.

    LaunchError                   something that the user can understand and act on
    ├── ConfigError               the agent's own configuration; carries file, line, column and key
    ├── QueueError                the backend answered, and the answer is no
    │   ├── QueueUnavailable      the backend did not answer, or not usefully: retry
    │   ├── QueueDenied           the API key is not accepted (401, 403)
    │   └── LeaseLost             another agent has the item, or its lease is over
    ├── Refused                   a job asks for what the agent's policy does not allow
    ├── SourceError               the code of a job
    │   ├── SourceNotFound
    │   └── SourceDenied
    ├── ImageError                a Dockerfile, a build context, an image reference
    ├── RegistryError
    │   ├── RegistryDenied
    │   ├── RegistryNotFound      no such repository, manifest or layer
    │   └── RegistryUnavailable   the registry does not answer, or not usefully: retry
    ├── CloudError                a cloud does not know us, or does not let us
    ├── StoreError                where build contexts are kept
    ├── BuildError                a build that ran and failed; carries the end of its log
    └── RunnerError               the target resource
        ├── SubmitRejected        it refused the job
        │   ├── ImageNotFound     the image is not where the reference says
        │   ├── ImageDenied       our credentials do not open the image
        │   └── ContainerCannotRun  the entry point is missing or not a program
        ├── RegistryUnreachable   the image's registry does not answer, or not in time
        ├── RightMissing          our account may not do this on it, for now at least
        └── StartTimeout          it took the job and never started it

A message says what was being done, to what, and why it failed; `hint` says what to change. Errors of SDKs
are chained (`raise … from error`) and never seen above the file that speaks to the SDK.
"""

from __future__ import annotations


class LaunchError(Exception):
    """An error whose text is meant for the user.

    `retryable` says that the same call may succeed later without any change by the user.
    """

    def __init__(self, message: str, *, hint: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigError(LaunchError):
    """A configuration that cannot be used.

    `path` is the key's path (`builder.type`), `file` the file's name; `line` and `column` count from 1 and
    are 0 where the value does not come from a file (environment, flags).
    """

    def __init__(
        self, message: str, *, path: str = "", file: str = "", line: int = 0, column: int = 0, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.file = file
        self.line = line
        self.column = column

    @property
    def where(self) -> str:
        """`file:line:column: key`, as far as each is known."""
        place = self.file
        if self.line:
            place += f":{self.line}:{self.column}"
        return ": ".join(part for part in (place, self.path) if part)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class QueueError(LaunchError):
    """The queue's backend answered, and the answer is no."""


class QueueUnavailable(QueueError):
    """The queue's backend cannot be reached, or does not answer in its protocol.

    `retry_after` is the number of seconds that the backend asked us to wait; 0 where it did not say.
    """

    def __init__(self, message: str, *, hint: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, hint=hint, retryable=True)
        self.retry_after = retry_after


class QueueDenied(QueueError):
    """The backend does not accept the API key, or the key may not do this."""


class LeaseLost(QueueError):
    """The item is no longer ours: its lease ended, or it was deleted or taken."""


class Refused(LaunchError):
    """The job asks for something that the agent's policy does not allow."""


class SourceError(LaunchError):
    """The source of a job cannot be used."""


class SourceNotFound(SourceError):
    """The repository, commit, artifact or file is not there."""


class SourceDenied(SourceError):
    """The source is there, and our credentials do not open it."""


class ImageError(LaunchError):
    """A Dockerfile, build context or image reference cannot be used."""


class RegistryError(LaunchError):
    """A container registry cannot do what was asked."""


class RegistryDenied(RegistryError):
    """A container registry does not accept our credentials for this."""


class RegistryNotFound(RegistryError):
    """A container registry has no such repository, manifest or layer, or does not show it to us."""


class RegistryUnavailable(RegistryError):
    """A container registry cannot be reached, or does not answer in its protocol."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, retryable=True)


class CloudError(LaunchError):
    """A cloud's credentials are missing or not accepted, or lack a permission."""


class StoreError(LaunchError):
    """A build context cannot be stored, read or removed."""


class BuildError(LaunchError):
    """A build ran and failed; `log` is the end of what it printed."""

    def __init__(self, message: str, *, log: str = "", hint: str = "", retryable: bool = False) -> None:
        super().__init__(message, hint=hint, retryable=retryable)
        self.log = log


class RunnerError(LaunchError):
    """The target resource cannot do what was asked."""


class SubmitRejected(RunnerError):
    """The target resource refused the job."""


class ImageNotFound(SubmitRejected):
    """The registry, or the engine where nothing is pulled, has no such image."""


class ImageDenied(SubmitRejected):
    """The registry does not show the image to us: it is private, or it does not exist."""


class ContainerCannotRun(SubmitRejected):
    """The container was made, and what it should run could not be started in it."""


class RegistryUnreachable(RunnerError):
    """The image's registry does not answer, or not in time."""


class RightMissing(RunnerError):
    """The agent's own account may not do this. Rights come late (an API server that has just started knows
    none) and are given back, so it is no fault of the job's."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, retryable=True)


class StartTimeout(RunnerError):
    """The target resource took the job and did not start it in time."""
