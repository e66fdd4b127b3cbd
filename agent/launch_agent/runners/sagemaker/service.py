"""SageMaker and CloudWatch Logs as one set of calls, each with fresh credentials and a timeout.

A session is asked for anew once its clients are some minutes old, or as soon as the service says that the
credentials have expired: tokens that a pod or an instance gets are good for hours, runs last for days.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from launch_agent.errors import CloudError, RunnerError
from launch_agent.runners.sagemaker import refusals
from launch_agent.spec import shapes
from launch_agent.spec.problem import Problem

_CONNECT_SECONDS, _READ_SECONDS = 10, 30
# The SDK tries again where it is throttled, with back-off; what is throttled still is retried by callers.
_TRIES = 4
_FRESH_SECONDS = 900.0
# One for each thread that may submit or follow at the same time.
_CONNECTIONS = 32


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

    def call(
        self,
        what: str,
        operation: str,
        *,
        service: str = "sagemaker",
        secrets: Sequence[str] = (),
        **parameters: Any,
    ) -> Any:
        """One request. `what` says in words what is being done; `secrets` are texts in it that no error may
        show, not even as the one that caused it. Raises RunnerError and its kinds."""
        for fresh in (False, True):
            try:
                client = self._client(service, fresh=fresh)
                return getattr(client, operation)(**parameters)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code in refusals.EXPIRED and not fresh:
                    continue
                raise refusals.refused(what, error.response, secrets) from (None if secrets else error)
            except ParamValidationError:
                # Its message prints values; `check` has said before what is wrong.
                text = f"cannot {what}: the request does not fit the API's model"
                raise RunnerError(text) from None
            except BotoCoreError as error:
                raise refusals.unreachable(what, str(error)) from error
        raise AssertionError("the second try returns or raises")

    def fitted(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """A request of SageMaker with its numbers and switches as the API's own model has them."""
        found: dict[str, Any] = shapes.fitted(self._shape(operation), parameters)
        return found

    def problems(self, operation: str, parameters: Mapping[str, Any]) -> list[Problem]:
        """What the API's own model says against a request, which is not sent."""
        return list(shapes.problems(self._shape(operation), parameters))

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _shape(self, operation: str) -> Any:
        return self._client("sagemaker").meta.service_model.operation_model(operation).input_shape

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
            max_pool_connections=_CONNECTIONS,
            user_agent_extra="launch-agent",
        )
        try:
            return self._session().client(
                service,
                region_name=self._region or None,
                endpoint_url=self._endpoints.get(service),
                config=config,
            )
        except CloudError as error:
            # Credentials are the agent's matter and may come back; no job is to fail for them.
            raise RunnerError(
                f"cannot use {service}: {error.message}", hint=error.hint, retryable=True
            ) from error
        except BotoCoreError as error:
            raise refusals.unreachable(f"use {service}", str(error)) from error
        except ValueError as error:
            raise RunnerError(f"cannot use {service}: {error}") from error
