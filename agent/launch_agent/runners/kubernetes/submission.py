"""Makes the objects of a run, in an order in which a crash leaves nothing that nobody owns.

    services, dry run     what cannot be made is found before anything is
    the run's object      named after the queue item; the server refuses what it does not know
    Secrets, services     owned by the object from their first moment: they go when it goes

The object comes first since only then is there an owner to name. Its pods cannot start before their Secrets
are there, some milliseconds later; a node that is quicker waits and tries again. Whoever finds the object of
an earlier try makes good what that one did not come to: each step may be done any number of times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import AlreadyExists, NotFound, UnknownKind
from launch_agent.clients.kube.objects import Resource
from launch_agent.errors import RunnerError, SubmitRejected
from launch_agent.runners.kubernetes import marks
from launch_agent.runners.kubernetes.manifest import Composition
from launch_agent.runners.kubernetes.refusals import asking, submitting
from launch_agent.spec.identity import AGENT_KEY, ITEM_KEY, SERVICE_OF, from_labels

MANAGER = "launch-agent"
# The keys of the kinds that are not like all others, as `Resource.key` has them.
JOBS = "batch/jobs"
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A run's object. `new` is whether it was made just now."""

    resource: Resource
    obj: Object
    new: bool


def resource_of(api: KubeApi, api_version: str, kind: str, what: str) -> Resource:
    """The kind as the cluster knows it. Raises SubmitRejected where it does not."""
    with asking(f"look up {kind} in {api_version}"):
        try:
            found = api.resource(api_version, kind)
        except UnknownKind as error:
            raise SubmitRejected(
                f"{what} cannot be made: {error.message}",
                hint=error.hint,
            ) from error
    if not found.namespaced:
        raise SubmitRejected(
            f"{what} cannot be made: objects of kind {kind} ({api_version}) belong to no namespace",
            hint="a run is an object of a namespace; choose another kind",
        )
    return found


def try_services(api: KubeApi, composition: Composition) -> None:
    """Have the server judge the services, and make nothing. Raises RunnerError."""
    for manifest in composition.services:
        what = _what(manifest)
        resource = resource_of(api, manifest["apiVersion"], manifest["kind"], what)
        with submitting(what, composition.namespace):
            try:
                api.create(resource, composition.namespace, manifest, dry_run=True)
            except AlreadyExists:
                continue  # whose it is will be seen


def make_object(api: KubeApi, composition: Composition, *, hold_ttl: bool) -> Made:
    """The run's object, made or found. Raises RunnerError."""
    manifest = composition.manifest
    what = _what(manifest)
    resource = resource_of(api, composition.api_version, composition.kind, what)
    if hold_ttl and resource.key == JOBS:
        manifest = marks.hold_ttl(manifest)
    with submitting(what, composition.namespace):
        try:
            return Made(
                resource=resource, obj=api.create(resource, composition.namespace, manifest), new=True
            )
        except AlreadyExists:
            found = api.find(resource, composition.namespace, composition.name)
    if found is None:
        raise RunnerError(f"{what} was deleted while it was made", retryable=True)
    _check_ours(found, manifest, what)
    return Made(resource=resource, obj=found, new=False)


def make_rest(api: KubeApi, composition: Composition, owner: Made) -> None:
    """Secrets and services, made or brought up to date, as the object's. Raises RunnerError."""
    for manifest in composition.secrets:
        if not (owner.new and _create_secret(api, manifest, owner)):
            apply_secret(api, manifest, owner)
    for manifest in composition.services:
        _make_service(api, composition.namespace, manifest, owner)


def _create_secret(api: KubeApi, manifest: Object, owner: Made) -> bool:
    """Make a Secret; False where it is there already. To apply one costs the server twice as much."""
    namespace = manifest["metadata"]["namespace"]
    with submitting(_what(manifest), namespace):
        try:
            api.create(api.resource("v1", "Secret"), namespace, _owned(manifest, owner))
        except AlreadyExists:
            return False
    return True


def apply_secret(api: KubeApi, manifest: Object, owner: Made) -> None:
    """Make a Secret or bring it up to date, in one request: it cannot be read, so it is not looked at."""
    namespace = manifest["metadata"]["namespace"]
    with submitting(_what(manifest), namespace):
        api.apply(api.resource("v1", "Secret"), namespace, _owned(manifest, owner), manager=MANAGER)


def empty_secret(api: KubeApi, manifest: Object) -> None:
    """Take out what a Secret holds. Raises RunnerError; gone is fine."""
    meta = manifest["metadata"]
    with asking(f"empty {_what(manifest)}"):
        try:
            api.patch(api.resource("v1", "Secret"), meta["namespace"], meta["name"], {"data": None})
        except NotFound:
            return


def delete(api: KubeApi, resource: Resource, obj: Object) -> None:
    """Delete this very object and, in the background, what it owns. Raises RunnerError; gone is fine."""
    meta = obj["metadata"]
    with asking(f"delete {resource.kind} {meta['namespace']}/{meta['name']}"):
        try:
            api.delete(resource, meta["namespace"], meta["name"], uid=meta["uid"])
        except NotFound:
            return


def _make_service(api: KubeApi, namespace: str, manifest: Object, owner: Made) -> None:
    what = _what(manifest)
    resource = api.resource(manifest["apiVersion"], manifest["kind"])
    with submitting(what, namespace):
        try:
            api.create(resource, namespace, _owned(manifest, owner))
        except AlreadyExists:
            found = api.find(resource, namespace, manifest["metadata"]["name"])
        else:
            return
    owners = {one.get("uid") for one in (found or {}).get("metadata", {}).get("ownerReferences", ())}
    if found is not None and owner.obj["metadata"]["uid"] in owners:
        return
    if found is None or _label(found, SERVICE_OF) == _label(manifest, SERVICE_OF):
        raise RunnerError(f"{what} of an earlier try is still being deleted", retryable=True)
    raise SubmitRejected(
        f"there is already a {what}, and it is not this run's",
        hint="give the service a name of its own, with a macro such as ${run_id} in it",
    )


def _check_ours(found: Object, manifest: Object, what: str) -> None:
    """Raise where the object that has the name is not this item's, or on its way out."""
    if _label(found, ITEM_KEY) != _label(manifest, ITEM_KEY):
        raise SubmitRejected(
            f"there is already a {what}, and it is not this run's",
            hint="the names of runs begin with 'launch-'; delete the object, or use another namespace",
        )
    if _label(found, AGENT_KEY) != _label(manifest, AGENT_KEY):
        whose = from_labels(found["metadata"].get("annotations") or {})
        raise SubmitRejected(
            f"there is already a {what}: the agent {whose.agent if whose else 'of another name'!r} made it",
            hint="agents that share a queue and take over each other's runs have one name ('name')",
        )
    if found["metadata"].get("deletionTimestamp"):
        raise RunnerError(f"{what} of an earlier try is still being deleted", retryable=True)


def _owned(manifest: Object, owner: Made) -> dict[str, Any]:
    """The manifest with its owner. Deleting the owner does not wait for it: that would need a right more."""
    meta = owner.obj["metadata"]
    reference = {
        "apiVersion": owner.obj["apiVersion"],
        "kind": owner.obj["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
    }
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [reference]}}


def _label(obj: Object, name: str) -> str:
    return str((obj["metadata"].get("labels") or {}).get(name, ""))


def _what(manifest: Object) -> str:
    meta = manifest["metadata"]
    return f"{manifest['kind']} {meta['namespace']}/{meta['name']}"
