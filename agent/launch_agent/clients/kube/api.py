"""The API of one cluster: objects of any kind, as plain dictionaries.

One client serves a whole cluster: its connections, its rate and what it knows of kinds are shared by all
threads. It stands on HTTP alone, since the official client takes more memory than the rest of an agent.

    api = KubeApi(in_pod(environment), qps=50, burst=100, timeout=20)
    jobs = api.resource("batch/v1", "Job")
    api.create(jobs, "team-a", manifest)

Every call raises KubeError (see `errors`): `Unavailable` where it may work another time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from launch_agent.clients.kube import review
from launch_agent.clients.kube.access import Access
from launch_agent.clients.kube.channel import Call, Channel
from launch_agent.clients.kube.discovery import Discovery
from launch_agent.clients.kube.errors import Gone, NotFound
from launch_agent.clients.kube.objects import Event, Object, Page, Patch, Propagation, Resource
from launch_agent.clients.kube.requests import MANAGER, page_of, request, request_for, segment, writing
from launch_agent.clients.kube.throttle import Throttle
from launch_agent.clients.kube.watch import events

__all__ = ["Event", "KubeApi", "Object", "Page", "Patch", "Propagation", "Resource"]

PAGE = 500
# The most of a log that is asked for where the caller names no limit.
_LONGEST_LOG = 4 * 1024 * 1024


class KubeApi:
    """A cluster, as the one whom `access` makes us. Safe to use from several threads.

    `qps` is requests per second over a longer time, `burst` those at once after a quiet time. `timeout` is
    seconds, for connecting and for each wait for bytes; `patience` how long a request may be tried again or
    wait for its turn.
    """

    def __init__(
        self, access: Access, *, qps: float, burst: int, timeout: float, patience: float = 30.0
    ) -> None:
        self._channel = Channel(access, Throttle(qps, burst), timeout=timeout, patience=patience)
        self._discovery = Discovery()
        self.tally = self._channel.tally

    @property
    def namespace(self) -> str:
        """The namespace of what names none: the pod's own, or the context's."""
        return self._channel.access.namespace

    def fork(self) -> KubeApi:
        """The same cluster and rate over connections of its own, which can be closed by themselves."""
        twin = object.__new__(KubeApi)
        twin._channel, twin._discovery, twin.tally = self._channel.twin(), self._discovery, self.tally
        return twin

    def close(self) -> None:
        """Final: requests in flight, in whatever thread, end at once, and so do later ones."""
        self._channel.close()

    def resource(self, api_version: str, kind: str) -> Resource:
        """The kind as the server has it. Raises UnknownKind (a NotFound) with what is near as its hint."""
        return self._discovery.find(self._channel, api_version, kind)

    def resources(self) -> Sequence[Resource]:
        """Every kind that the server has, once, in the version that it prefers."""
        return self._discovery.all(self._channel)

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        return self._object(request_for("GET", resource, namespace, name, does="read"))

    def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, None where there is none."""
        try:
            return self.get(resource, namespace, name)
        except NotFound:
            return None

    def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = PAGE,
        after: str = "",
    ) -> Page:
        """One part of a list, of a namespace or of all; `labels` and `fields` are selectors. `after` is the
        `next` of the part before; raises Gone where that is too long ago."""
        query = {"labelSelector": labels, "fieldSelector": fields, "continue": after}
        query["limit"] = str(limit) if limit else ""
        call = request("GET", resource, namespace, "", does="list", query=query)
        page = page_of(self._object(call), resource)
        if page is None:
            raise self._channel.no_kubernetes(call)
        return page

    def pages(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = PAGE,
    ) -> Iterator[Page]:
        """A whole list in parts, all of the same moment. Raises Gone where it took too long to read on."""
        after = ""
        while True:
            page = self.list(resource, namespace, labels=labels, fields=fields, limit=limit, after=after)
            yield page
            after = page.next
            if not after:
                return

    def each(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Iterator[Object]:
        """All objects of a list, each once. Where the list has to be begun again, what came already is not
        repeated, and may be older than the rest."""
        seen: set[str] = set()
        for last, size in ((False, PAGE), (False, 4 * PAGE), (True, 16 * PAGE)):
            try:
                for page in self.pages(resource, namespace, labels=labels, fields=fields, limit=size):
                    for item in page.items:
                        if (uid := str((item.get("metadata") or {}).get("uid", ""))) not in seen:
                            seen.add(uid)
                            yield item
            except Gone:  # begun again, in larger parts
                if last:
                    raise
            else:
                return

    def create(
        self,
        resource: Resource,
        namespace: str,
        manifest: Mapping[str, Any],
        *,
        dry_run: bool = False,
        strict: bool = True,
    ) -> Object:
        """Make an object and return it as stored. `dry_run` only has it judged; `strict` refuses fields that
        the server does not know.

        Tried again only where the server has not seen it: after an error whose `acted` is set, look whether
        it is there, by a name that was chosen before. Raises AlreadyExists.
        """
        query = writing(dry_run=dry_run, strict=strict)
        name = str((manifest.get("metadata") or {}).get("name", ""))
        does = "try to create" if dry_run else "create"
        call = request(
            "POST", resource, namespace, "", does=does, query=query, body=manifest, again=dry_run, named=name
        )
        return self._object(call)

    def apply(
        self,
        resource: Resource,
        namespace: str,
        manifest: Mapping[str, Any],
        *,
        manager: str = MANAGER,
        force: bool = True,
        dry_run: bool = False,
        strict: bool = True,
    ) -> Object:
        """Make an object, or set those of its fields that the manifest has (server-side apply). With `force`
        fields of other managers are taken over, else they are a Conflict."""
        name = str(manifest["metadata"]["name"])
        query = writing(dry_run=dry_run, strict=strict)
        query |= {"fieldManager": manager, "force": "true" if force else ""}
        call = request_for(
            "PATCH",
            resource,
            namespace,
            name,
            does="apply",
            query=query,
            body=manifest,
            content=Patch.APPLY.value,
        )
        return self._object(call)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        how: Patch = Patch.MERGE,
        part: str = "",
        dry_run: bool = False,
        strict: bool = True,
    ) -> Object:
        """Change an object, or with `part` its `status` or `scale`. A `metadata.uid` or `resourceVersion` in
        a merge makes it a Conflict where the object is another by now."""
        call = request_for(
            "PATCH",
            resource,
            namespace,
            name,
            does="change",
            query=writing(dry_run=dry_run, strict=strict),
            body=change,
            content=how.value,
            again=how is not Patch.JSON or dry_run,
            part=part,
        )
        return self._object(call)

    def replace(
        self,
        resource: Resource,
        namespace: str,
        manifest: Mapping[str, Any],
        *,
        part: str = "",
        dry_run: bool = False,
        strict: bool = True,
    ) -> Object:
        """Put an object in the place of what it was. One that holds a `resourceVersion` replaces only that;
        it is not tried again then, since the second try would find the first in its way."""
        meta = manifest["metadata"]
        call = request_for(
            "PUT",
            resource,
            namespace,
            str(meta["name"]),
            does="replace",
            query=writing(dry_run=dry_run, strict=strict),
            body=manifest,
            again=dry_run or not meta.get("resourceVersion"),
            part=part,
        )
        return self._object(call)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        propagation: Propagation = Propagation.BACKGROUND,
        grace: int | None = None,
        uid: str = "",
        dry_run: bool = False,
    ) -> None:
        """Delete an object, and what it owns as `propagation` says. `grace` is seconds for its containers,
        None for what the object says itself. With `uid` an object of that name which is another one stays,
        and is a Conflict. Raises NotFound where there is none."""
        options: dict[str, Any] = {"propagationPolicy": propagation.value}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid:
            options["preconditions"] = {"uid": uid}
        query = {"dryRun": "All"} if dry_run else {}
        call = request_for("DELETE", resource, namespace, name, does="delete", query=query, body=options)
        self._channel.send(call)

    @contextmanager
    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        version: str,
        labels: str = "",
        fields: str = "",
        lasting: float,
        silence: float,
    ) -> Iterator[Iterator[Event]]:
        """What happens after `version`, as it happens, for `lasting` seconds by the server's clock.

        `silence` is the longest wait for a piece of the answer, in seconds; longer than `lasting`, or a quiet
        time looks like a dead connection. Raises Gone where `version` is too old, and Unavailable where the
        connection breaks. Not waiting for events but for the answer's first bytes is what this block does.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, round(lasting))),
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        call = request("GET", resource, namespace, "", does="watch", query=query)
        with self._channel.stream(call, silence=silence) as stream:
            yield events(stream.chunks(), call.action)

    def log(
        self,
        namespace: str,
        pod: str,
        *,
        container: str = "",
        tail: int | None = None,
        previous: bool = False,
        since: str = "",
        stamped: bool = False,
        longest: int = _LONGEST_LOG,
    ) -> str:
        """What a container printed, its last `tail` lines or all. `previous` is the container before its
        restart. `stamped` puts the time before each line; `since` is such a time, and leaves out lines of
        seconds before it. No more than the last `longest` bytes are returned."""
        query = {
            "container": container,
            "tailLines": "" if tail is None else str(max(0, tail)),
            "previous": "true" if previous else "",
            "sinceTime": since,
            "timestamps": "true" if stamped else "",
        }
        action = f"read the log of pod {namespace}/{pod}"
        path = f"/api/v1/namespaces/{segment(namespace, action)}/pods/{segment(pod, action)}/log"
        call = Call(method="GET", path=path, query=query, action=action, accept="*/*")
        kept = self._channel.persist(call, lambda: self._end_of(call, longest))
        return kept.decode("utf-8", "replace")

    def can(
        self, verb: str, resource: Resource | str, namespace: str = "", *, name: str = "", part: str = ""
    ) -> bool:
        """Whether we may do this, by the server's word. `resource` may be written `batch/jobs`, `/pods`;
        `namespace` empty means in all; `part` is a subresource (`log`)."""
        key = resource if isinstance(resource, str) else resource.key
        return review.can(self._channel, verb, key, namespace, name, part)

    def rules(self, namespace: str) -> review.Rules:
        """All that we may do in a namespace, as far as the server can say it."""
        return review.rules(self._channel, namespace)

    def version(self) -> str:
        """The server's version, such as `v1.37.0`."""
        answer = self._channel.json(
            Call(method="GET", path="/version", action="ask for the server's version")
        )
        return str(answer.get("gitVersion", "")) if isinstance(answer, Mapping) else ""

    def _object(self, call: Call) -> Object:
        answer = self._channel.json(call)
        if not isinstance(answer, dict):
            raise self._channel.no_kubernetes(call)
        return answer

    def _end_of(self, call: Call, longest: int) -> bytes:
        kept = b""
        with self._channel.stream(call, silence=self._channel.timeout) as stream:
            for piece in stream.chunks():
                kept = (kept + piece)[-longest:]
        return kept
