"""SageMaker and CloudWatch Logs as one set of calls, each with fresh credentials and a timeout.

A session is asked for anew once its clients are some minutes old, or as soon as the service says that the
credentials have expired: tokens that a pod or an instance gets are good for hours, runs last for days.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from botocore.validate import ParamValidator

from launch_agent.errors import LaunchError
from launch_agent.runners.sagemaker import refusals

_CONNECT_SECONDS, _READ_SECONDS = 10, 30
# The SDK tries again where it is throttled, with back-off; what is throttled still is retried by callers.
_TRIES = 4
_FRESH_SECONDS = 900.0
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})


class Service:
    """`session` makes a session of the SDK with the agent's credentials; `region` may be empty for its own.
    `endpoints` are addresses to use in place of the cloud's own, by service (`sagemaker`, `logs`)."""

    def __init__(
        self,
        session: Callable[[], Any],
        *,
        region: str = "",
        endpoints: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._region = region
        self._endpoints = endpoints
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._made = float("-inf")

    def call(self, what: str, operation: str, *, service: str = "sagemaker", **parameters: Any) -> Any:
        """One request. `what` says in words what is being done. Raises RunnerError and its kinds; AWS's own
        word for an error is the `code` that `refusals.code_of` tells."""
        for fresh in (False, True):
            try:
                client = self._client(service, fresh=fresh)
                return getattr(client, operation)(**parameters)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code in _EXPIRED and not fresh:
                    continue
                raise refusals.refused(what, error.response) from error
            except ParamValidationError as error:
                raise refusals.invalid(what, str(error)) from error
            except BotoCoreError as error:
                raise refusals.unreachable(what, str(error)) from error
        raise AssertionError("the second try returns or raises")

    def check(self, operation: str, parameters: Mapping[str, Any]) -> None:
        """Compare a request with the API's own model, without sending it. Raises SubmitRejected."""
        model = self._client("sagemaker").meta.service_model.operation_model(operation)
        report = ParamValidator().validate(dict(parameters), model.input_shape)
        if report.has_errors():
            raise refusals.invalid("check the training job", report.generate_report())

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _client(self, service: str, *, fresh: bool = False) -> Any:
        with self._lock:
            now = self._clock()
            if fresh or now - self._made > _FRESH_SECONDS:
                # Requests of other threads may be in flight on the old ones: those are left to end.
                self._clients = {}
                self._made = now
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def _make(self, service: str) -> Any:
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            user_agent_extra="launch-agent",
        )
        try:
            return self._session().client(
                service,
                region_name=self._region or None,
                endpoint_url=self._endpoints.get(service),
                config=config,
            )
        except BotoCoreError as error:
            raise refusals.unreachable(f"use {service}", str(error)) from error
        except ValueError as error:
            raise LaunchError(f"cannot use {service}: {error}") from error
