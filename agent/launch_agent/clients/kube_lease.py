"""One Lease object of the Kubernetes API: read it, make it, replace it only where nobody else has meanwhile.

Three requests of one kind need no Kubernetes client, which would take more memory than the rest of the agent.
Two facts of the API carry all that is built on this: a PUT that names a `resourceVersion` changes the object
only if that is still its version, and so does nothing twice; and the times in the object are written by other
machines' clocks, so they are compared for change and never read as times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launch_agent.clients.http import HttpClient, HttpSettings, NoAnswer, Response
from launch_agent.clients.kube.access import context
from launch_agent.errors import ConfigError, LaunchError

# Where the next holder finds what the last one worked on.
_RESOURCES = "launch-agent/resources"
_MOUNTED = "is the token of the pod's service account mounted (automountServiceAccountToken)?"
_WORD = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")


class Conflict(Exception):
    """Another client made or changed the Lease meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a Lease says. `holder` is empty where nobody holds it; `duration` is seconds.

    `version` is the object's, empty where there is none yet. `resources` are the target resources on which
    runs may exist. `rest` is the object as it was read, so that what others wrote in it stays.
    """

    holder: str
    duration: float
    transitions: int = 0
    acquired: str = ""
    resources: frozenset[str] = frozenset()
    version: str = ""
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


class KubeLease:
    """The Lease `namespace`/`name`, as the account whose folder is given may use it.

    `environment` is a pod's: it says where the API server is. `account` holds the files `token`, which is
    read at each request since it is renewed every hour, and `ca.crt`. `timeout` is seconds, for connecting
    and for each wait for bytes. Raises ConfigError outside of a pod.
    """

    def __init__(
        self,
        namespace: str,
        name: str,
        *,
        environment: Mapping[str, str],
        account: Path,
        timeout: float,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.place = f"{namespace}/{name}"
        self._namespace = namespace
        self._name = name
        self._account = account
        self._utc = utc
        host, port = (environment.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
        if not host or not port:
            raise ConfigError(
                f"the lease {self.place} cannot be used: this is no pod (KUBERNETES_SERVICE_HOST is not set)",
                path="leader-election.lease",
                hint="leave it out where the agent does not run on Kubernetes",
            )
        host = f"[{host}]" if ":" in host else host
        group = f"https://{host}:{port}/apis/coordination.k8s.io/v1"
        self._all = f"{group}/namespaces/{namespace}/leases"
        # The cluster's own authority and nobody else's; and no proxy between a pod and its API server.
        settings = HttpSettings(
            connect_timeout=timeout,
            read_timeout=timeout,
            tls=lambda: context(account / "ca.crt"),
        )
        self._http = HttpClient(settings)

    def read(self) -> Record | None:
        """The Lease as it is, None where there is none. Raises LaunchError where it cannot be asked for."""
        answer = self._call("GET", f"{self._all}/{self._name}")
        if answer.status == 404:
            return None
        return self._record(answer)

    def write(self, record: Record) -> Record:
        """Make the Lease, or replace the version of it that the record names; says what it is then.

        Raises Conflict where that version is no more, LaunchError where the answer is no or did not come:
        then the Lease may have been written or not.
        """
        body = json.dumps(self._manifest(record)).encode()
        if record.version:
            answer = self._call("PUT", f"{self._all}/{self._name}", body)
        else:
            answer = self._call("POST", self._all, body)
        # A Lease that was deleted is not there to be replaced: whoever reads again will see that.
        if answer.status in (404, 409):
            raise Conflict
        return self._record(answer)

    def close(self) -> None:
        """Final; a request in another thread ends at once."""
        self._http.close()

    def _call(self, method: str, url: str, body: bytes | None = None) -> Response:
        headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            return self._http.request(method, url, headers=headers, body=body)
        except NoAnswer as error:
            # The next try is to read the authority anew: it may have been replaced.
            self._http.release()
            raise self._unusable(error.reason) from error
        except ConfigError as error:
            raise self._unusable(error.message, hint=_MOUNTED) from error

    def _token(self) -> str:
        try:
            return (self._account / "token").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no token"
            raise self._unusable(
                f"{self._account / 'token'} cannot be read: {reason}",
                hint=_MOUNTED,
            ) from error

    def _record(self, answer: Response) -> Record:
        if answer.status == 403:
            raise self._unusable(
                f"the API server does not allow it: {_message(answer)}",
                hint="the agent's account needs get and update on this Lease, and create on leases",
            )
        if answer.status not in (200, 201):
            raise self._unusable(f"the API server answers {answer.status}: {_message(answer)}")
        try:
            return _parse(answer.json())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._unusable(f"what answers is no Lease: {answer.excerpt()}") from error

    def _unusable(self, reason: str, hint: str = "") -> LaunchError:
        return LaunchError(f"the lease {self.place} cannot be used: {reason}", hint=hint, retryable=True)

    def _manifest(self, record: Record) -> dict[str, Any]:
        before = dict(record.rest)
        meta = dict(before.get("metadata") or {"name": self._name, "namespace": self._namespace})
        if record.resources:
            words = ",".join(sorted(record.resources))
            meta["annotations"] = {**(meta.get("annotations") or {}), _RESOURCES: words}
        if record.version:
            meta["resourceVersion"] = record.version
        now = self._utc().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(before.get("spec") or {})
        # Every write changes the time, so that others see that the holder lives. An empty holder is no value.
        spec |= {
            "holderIdentity": record.holder or None,
            "leaseDurationSeconds": max(1, round(record.duration)),
            "leaseTransitions": record.transitions,
            "acquireTime": record.acquired or now,
            "renewTime": now,
        }
        kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        return {**before, **kind, "metadata": meta, "spec": spec}


def _parse(body: dict[str, Any]) -> Record:
    meta, spec = body["metadata"], body.get("spec") or {}
    words = str((meta.get("annotations") or {}).get(_RESOURCES, "")).split(",")
    return Record(
        holder=str(spec.get("holderIdentity") or ""),
        duration=float(spec.get("leaseDurationSeconds") or 0),
        transitions=int(spec.get("leaseTransitions") or 0),
        acquired=str(spec.get("acquireTime") or ""),
        resources=frozenset(word for word in words if _WORD.fullmatch(word)),
        version=str(meta["resourceVersion"]),
        rest=body,
    )


def _message(answer: Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.excerpt()
