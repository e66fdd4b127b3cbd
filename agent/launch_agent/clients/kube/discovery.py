"""Which kinds of objects a server has: asked for, kept, and asked for again where one is missing.

Plurals are never guessed (`endpoints`, `networkpolicies`, and what else custom resources come up with). What
is missing may have been installed a moment ago, so a miss reads that group once more before it is an error.
"""

from __future__ import annotations

import difflib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from launch_agent.clients.kube.channel import Call, Channel
from launch_agent.clients.kube.errors import KubeError, NotFound, Unavailable, UnknownKind
from launch_agent.clients.kube.objects import Resource, root

_log = logging.getLogger(__name__)
# One answer with everything in it (Kubernetes 1.30 and later); older servers answer with groups only.
_ALL = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
_SUGGESTIONS = 4


class Discovery:
    """What one server has; shared by all threads that speak to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Mapping[str, Resource]] = {}

    def find(self, channel: Channel, api_version: str, kind: str) -> Resource:
        """Raises UnknownKind, whose message names what is near; another KubeError where nobody can say."""
        with self._lock:
            known = self._known.get(api_version, {})
        found = known.get(kind)
        if found is None:
            known = self._read(channel, api_version, kind)
            with self._lock:
                self._known[api_version] = known
            found = known.get(kind)
        if found is None:
            raise self._unknown(channel, api_version, kind, known)
        return found

    def all(self, channel: Channel) -> Sequence[Resource]:
        """Every kind that the server has, once, in the version that it prefers. A server older than
        Kubernetes 1.30 is asked for each group by itself."""
        return list(_preferred(channel)) or list(self._group_by_group(channel))

    def _group_by_group(self, channel: Channel) -> Iterator[Resource]:
        answer = channel.json(Call(method="GET", path="/apis", action="list what is served"))
        groups = answer.get("groups") if isinstance(answer, Mapping) else None
        preferred = [(group.get("preferredVersion") or {}).get("groupVersion", "") for group in groups or ()]
        for version in ("v1", *preferred):
            try:
                yield from self._read(channel, version, "all kinds").values()
            except Unavailable as error:
                if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                # Another server answers for this group, and is away: none of its kinds is a run of ours.
                _log.info("the kinds of %s are not known: %s", version, error.message)

    def _read(self, channel: Channel, api_version: str, kind: str) -> Mapping[str, Resource]:
        """The kinds of a group's version; none where the server does not have it."""
        parts = api_version.split("/")
        if len(parts) > 2 or not all(part.replace("-", "").replace(".", "").isalnum() for part in parts):
            return {}
        call = Call(method="GET", path=root(api_version), action=f"look up {kind} in {api_version}")
        try:
            answer = channel.json(call)
        except NotFound:
            return {}
        listed = answer.get("resources") if isinstance(answer, Mapping) else None
        group, version = parts if len(parts) == 2 else ("", parts[0])
        return {
            each["kind"]: Resource(
                group=group,
                version=version,
                plural=each["name"],
                kind=each["kind"],
                namespaced=bool(each.get("namespaced")),
                verbs=frozenset(each.get("verbs") or ()),
            )
            for each in (listed if isinstance(listed, list) else ())
            if _is_kind(each)
        }

    def _unknown(
        self, channel: Channel, api_version: str, kind: str, known: Mapping[str, Resource]
    ) -> UnknownKind:
        try:
            served = sorted(_served(channel))
        except (KubeError, KeyError, TypeError, AttributeError):
            served = []  # it is for the hint only
        elsewhere = [version for version, each in served if each == kind]
        versions = sorted({version for version, _ in served})
        if elsewhere:
            hint = f"{kind} is served as {_some(elsewhere)}"
        elif near := difflib.get_close_matches(kind, list(known), n=_SUGGESTIONS):
            hint = f"{api_version} has {_some(near)}"
        elif near := _near(kind, [each for _, each in served]):
            hint = _some([f"{version} {each}" for version, each in served if each in near])
            hint = f"the server has {hint}"
        elif near := _near_versions(api_version, versions):
            hint = f"the server has {_some(near)}"
        else:
            hint = "is its operator installed, with its CustomResourceDefinition?"
        what = f"no kind {kind} in {api_version}" if known else f"no {api_version}, and so no kind {kind}"
        return UnknownKind(
            f"the API server has {what}",
            status=404,
            reason="NotFound",
            action=f"look up {kind} in {api_version}",
            hint=hint,
        )


def _is_kind(found: Any) -> bool:
    """Whether an entry is a kind of object, and no subresource."""
    if not isinstance(found, Mapping):
        return False
    kind, name = found.get("kind"), found.get("name")
    return isinstance(kind, str) and isinstance(name, str) and "/" not in name


def _served(channel: Channel) -> Iterator[tuple[str, str]]:
    """All kinds of a server, with their `apiVersion`."""
    for path in ("/api", "/apis"):
        answer = channel.json(Call(method="GET", path=path, action="list what is served", accept=_ALL))
        for group in answer.get("items") or ():
            name = (group.get("metadata") or {}).get("name", "")
            for version in group.get("versions") or ():
                word = f"{name}/{version['version']}" if name else version["version"]
                for each in version.get("resources") or ():
                    yield word, (each.get("responseKind") or {}).get("kind", "")


def _preferred(channel: Channel) -> Iterator[Resource]:
    seen: set[str] = set()
    for path in ("/api", "/apis"):
        answer = channel.json(Call(method="GET", path=path, action="list what is served", accept=_ALL))
        for group in answer.get("items") or ():
            name = (group.get("metadata") or {}).get("name", "")
            for version in group.get("versions") or ():  # in the order of preference
                for each in version.get("resources") or ():
                    found = Resource(
                        group=name,
                        version=version["version"],
                        plural=each["resource"],
                        kind=(each.get("responseKind") or {}).get("kind", ""),
                        namespaced=each.get("scope") == "Namespaced",
                        verbs=frozenset(each.get("verbs") or ()),
                    )
                    if found.key not in seen:
                        seen.add(found.key)
                        yield found


def _near(word: str, words: Sequence[str]) -> list[str]:
    """Close spellings; case alone is no difference."""
    by_case: dict[str, str] = {each.lower(): each for each in words if each}
    found = difflib.get_close_matches(word.lower(), list(by_case), n=_SUGGESTIONS, cutoff=0.75)
    return [by_case[each] for each in found]


def _near_versions(api_version: str, versions: Sequence[str]) -> list[str]:
    """Other versions of the same group, or those of groups whose names are close."""
    groups = {each.rpartition("/")[0] for each in versions}
    group = api_version.partition("/")[0]
    near = [group] if group in groups else difflib.get_close_matches(group, groups, cutoff=0.8)
    return [each for each in versions if each.rpartition("/")[0] in near]


def _some(words: Sequence[Any]) -> str:
    unique = list(dict.fromkeys(str(word) for word in words))
    return ", ".join(unique[:_SUGGESTIONS])
