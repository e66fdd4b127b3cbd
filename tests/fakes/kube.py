"""A small client of the Kubernetes API for tests: any kind, any verb, with the server's warnings kept.

Tests ask things that clients hide: what server-side dry run says with strict field validation, and which
warnings (Pod Security's among them) came along.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

_SECONDS = 30.0
Object = dict[str, Any]
Right = tuple[str, str, str, str]
"""API group, resource, name (empty: any) and verb."""


class ApiError(Exception):
    """The server refused; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody as the authorizer knows them."""

    name: str
    groups: tuple[str, ...]


def service_account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(name=f"system:serviceaccount:{namespace}:{name}", groups=groups)


@dataclass(slots=True, kw_only=True)
class Kube:
    """Speaks to one API server as one user, given by a client certificate or a token."""

    url: str
    authority: Path
    certificate: tuple[Path, Path] | None = None
    bearer: str = ""
    warnings: list[str] = field(default_factory=list)
    _pool: urllib3.PoolManager = field(init=False)
    _resources: dict[tuple[str, str], tuple[str, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        context = ssl.create_default_context(cafile=str(self.authority))
        if self.certificate:
            context.load_cert_chain(*map(str, self.certificate))
        headers = {"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}
        self._pool = urllib3.PoolManager(
            ssl_context=context, headers=headers, timeout=_SECONDS, retries=False
        )

    def close(self) -> None:
        self._pool.clear()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One request; the parsed answer, or its text where it is not JSON. Raises ApiError."""
        sent = urllib3.HTTPHeaderDict({"Content-Type": content, "Accept": "application/json"})
        sent.extend(self._pool.headers)
        sent.extend(headers or {})
        answer = self._pool.request(
            method,
            f"{self.url}{path}" + (f"?{urlencode(query)}" if query else ""),
            body=None if body is None else json.dumps(body).encode(),
            headers=sent,
        )
        self.warnings += _warnings(answer)
        text = answer.data.decode()
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        parsed = json.loads(text) if is_json else text
        if answer.status >= 400:
            message = parsed.get("message", text) if isinstance(parsed, dict) else text
            raise ApiError(answer.status, message)
        return parsed

    def path(self, version: str, kind: str, namespace: str = "", name: str = "") -> str:
        """Where a kind lives. Raises LookupError where the server does not know it."""
        root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if (version, kind) not in self._resources:
            try:
                known = self.call("GET", root)["resources"]
            except ApiError as error:
                raise LookupError(f"the server knows no {version}") from error
            self._resources |= {
                (version, each["kind"]): (each["name"], each["namespaced"])
                for each in known
                if "/" not in each["name"]
            }
        try:
            plural, namespaced = self._resources[version, kind]
        except KeyError as error:
            raise LookupError(f"the server knows no {kind} in {version}") from error
        scope = f"/namespaces/{namespace}" if namespaced and namespace else ""
        return f"{root}{scope}/{plural}" + (f"/{name}" if name else "")

    def dry_run(self, manifest: Object, namespace: str) -> Object:
        """The object as the server would store it: server-side apply, unknown fields refused."""
        meta = manifest["metadata"]
        where = self.path(
            manifest["apiVersion"], manifest["kind"], meta.get("namespace", namespace), meta["name"]
        )
        query = {"dryRun": "All", "fieldManager": "tests", "fieldValidation": "Strict"}
        stored: Object = self.call(
            "PATCH", where, manifest, query=query, content="application/apply-patch+yaml"
        )
        return stored

    def create(self, manifest: Object, namespace: str = "") -> Object:
        where = self.path(manifest["apiVersion"], manifest["kind"], namespace)
        created: Object = self.call("POST", where, manifest, query={"fieldValidation": "Strict"})
        return created

    def get(self, version: str, kind: str, namespace: str, name: str) -> Object | None:
        """One object, or None where it is not there."""
        try:
            found: Object = self.call("GET", self.path(version, kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def items(self, version: str, kind: str, namespace: str = "", **query: str) -> list[Object]:
        """The objects of a kind in a namespace, or in all. `labelSelector=…` chooses."""
        items: list[Object] = self.call("GET", self.path(version, kind, namespace), query=query)["items"]
        return items

    def delete(self, version: str, kind: str, namespace: str, name: str, *, grace: int | None = None) -> None:
        """Remove an object, with a grace period in seconds (0: by force). One that is gone is fine."""
        options = {"propagationPolicy": "Background", "gracePeriodSeconds": grace}
        try:
            self.call("DELETE", self.path(version, kind, namespace, name), options)
        except ApiError as error:
            if error.status != 404:
                raise

    def patch(
        self, version: str, kind: str, namespace: str, name: str, merged: Object, sub: str = ""
    ) -> Object:
        """Merge fields into an object, or with `sub` into its `status` or `scale`."""
        where = self.path(version, kind, namespace, name) + (f"/{sub}" if sub else "")
        patched: Object = self.call("PATCH", where, merged, content="application/merge-patch+json")
        return patched

    def log(self, namespace: str, pod: str, **query: str) -> str:
        """What a pod has said. `container=…`, `tailLines=…` and `previous=true` as the API has them."""
        return str(self.call("GET", self.path("v1", "Pod", namespace, pod) + "/log", query=query))

    def may(
        self, user: User, verb: str, resource: str, *, namespace: str, group: str = "", name: str = ""
    ) -> bool:
        """Whether the authorizer lets a user do something; `resource` may be `pods/log`."""
        plural, _, sub = resource.partition("/")
        asked = {"verb": verb, "resource": plural, "subresource": sub, "group": group, "name": name}
        spec = {
            "user": user.name,
            "groups": user.groups,
            "resourceAttributes": {**asked, "namespace": namespace},
        }
        return bool(self._review("SubjectAccessReview", {"spec": spec})["allowed"])

    def rules(self, user: User, namespace: str) -> set[Right]:
        """All that a user may do in a namespace, roles of the whole cluster included."""
        headers = urllib3.HTTPHeaderDict({"Impersonate-User": user.name})
        for group in user.groups:
            headers.add("Impersonate-Group", group)
        status = self._review("SelfSubjectRulesReview", {"spec": {"namespace": namespace}}, headers)
        return {
            (group, resource, name, verb)
            for rule in status["resourceRules"]
            for group in rule.get("apiGroups", [])
            for resource in rule.get("resources", [])
            for name in rule.get("resourceNames") or [""]
            for verb in rule["verbs"]
        }

    def _review(self, kind: str, review: Object, headers: Mapping[str, str] | None = None) -> Object:
        version = "authorization.k8s.io/v1"
        asked = {"apiVersion": version, "kind": kind, **review}
        status: Object = self.call("POST", self.path(version, kind), asked, headers=headers)["status"]
        return status

    def token(self, namespace: str, account: str) -> str:
        """A short-lived token of a service account."""
        where = f"{self.path('v1', 'ServiceAccount', namespace, account)}/token"
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return str(self.call("POST", where, asked)["status"]["token"])

    def by_token(self, token: str) -> Kube:
        """A client of the same server, as the owner of a token."""
        return Kube(url=self.url, authority=self.authority, bearer=token)

    @contextmanager
    def heard(self) -> Iterator[list[str]]:
        """The warnings that the server gives while the block runs."""
        before = len(self.warnings)
        said: list[str] = []
        try:
            yield said
        finally:
            said += self.warnings[before:]


def _warnings(answer: urllib3.BaseHTTPResponse) -> list[str]:
    """The texts of `Warning: 299 - "text"` headers."""
    return [line.partition('"')[2].rpartition('"')[0] for line in answer.headers.getlist("warning")]
