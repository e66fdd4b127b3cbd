"""Makes the objects of a run from a run request: pure, so that what a job becomes can be read off.

A queue's configuration is a whole or partial manifest. What the documents promise to add is added where it
says nothing (spec/kubernetes/defaults.py); the run is put into its containers (container.py); names, labels
and Secrets are ours. All else stays as the queue has it, for the API server to judge.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launch_agent.runners.kubernetes import code, container, namespaces, secrets_manifest, services_manifest
from launch_agent.runners.kubernetes.code import Fetching
from launch_agent.runners.kubernetes.namespaces import Namespaces
from launch_agent.spec import identity as ids
from launch_agent.spec.kubernetes import legal
from launch_agent.spec.kubernetes.kinds import SPARK, TRAIN_JOB, WORKFLOW
from launch_agent.spec.kubernetes.problems import Problems, join
from launch_agent.spec.kubernetes.review import prepare
from launch_agent.spec.kubernetes.templates import PodTemplate, metadata_map
from launch_agent.spec.model import Credentials, RunIdentity, RunRequest

_NO_FETCHING = Fetching()
# A name that a queue's configuration gives is one for all its jobs, so it cannot be that of an object.
REQUESTED_NAME = f"{ids.PREFIX}requested-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """The objects of one run, as the API takes them.

    `manifest` is the run's object, `secrets` what has to be there before it (its variables, what opens its
    image's registry), `services` what accompanies it; all are in `namespace`, labelled, and to be owned by
    the run's object. `context` is that of the kubeconfig file which the queue names, empty where it names
    none. `pod_labels` select the run's pods.
    """

    name: str
    namespace: str
    api_version: str
    kind: str
    manifest: Mapping[str, Any]
    secrets: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    services: tuple[Mapping[str, Any], ...] = ()
    context: str = ""
    pod_labels: Mapping[str, str] = field(default_factory=dict)


def context_of(resource_args: Mapping[str, Any]) -> str:
    """The kubeconfig context that a queue's configuration names; empty where it names none or no text."""
    context = resource_args.get("context")
    return context if isinstance(context, str) else ""


def compose(
    request: RunRequest,
    *,
    allowed: Namespaces,
    credentials: Credentials | None = None,
    fetching: Fetching = _NO_FETCHING,
) -> Composition:
    """The objects of a run. `credentials` open its image's registry; None where nodes help themselves.
    `fetching` says how pods get a job's code that its image does not hold.

    The same request gives the same objects, and is not changed. Raises SubmitRejected for a manifest that
    cannot be used, naming every place and what to write instead, and Refused for a namespace that the agent
    does not serve.
    """
    problems = Problems()
    manifest: dict[str, Any] = {"metadata": {}} | copy.deepcopy(dict(request.resource_args))
    wanted, place = namespaces.asked_for(manifest, problems)
    if (context := manifest.get("context")) is not None and not isinstance(context, str):
        problems.wrong_type("context", "a text", context)
    kind, templates = prepare(manifest, problems, marks=(request.identity.run_id, request.image))
    secret_name = secrets_manifest.env_secret_name(request.identity)
    container.fill(manifest, templates, request, secret_name, problems)
    code.add(templates, request, secret_name, fetching, problems)
    if credentials is not None:
        for template in templates:
            _add_pull_secret(template, secrets_manifest.pull_secret_name(request.identity), problems)
    _name(manifest, templates, request.identity, problems)
    services = services_manifest.compose(request, problems)
    legal.check_labels(manifest, "", problems)
    problems.check()
    namespace = namespaces.choose(wanted, place, allowed)
    legal.set_namespace(manifest, "", namespace, problems)
    for number, service in enumerate(services):
        legal.set_namespace(service, services_manifest.place_of(number), namespace, problems)
    legal.check_size(manifest, problems)
    problems.check()
    return Composition(
        name=manifest["metadata"]["name"],
        namespace=namespace,
        api_version=manifest["apiVersion"],
        kind=manifest["kind"],
        manifest=manifest,
        # Without pods of ours nothing refers to them.
        secrets=_secrets(request, namespace, credentials) if templates else (),
        services=services,
        context=context_of(request.resource_args),
        pod_labels=_pod_labels(kind, request.identity),
    )


def _secrets(
    request: RunRequest, namespace: str, credentials: Credentials | None
) -> tuple[Mapping[str, Any], ...]:
    found = []
    values = {**request.secret_env, **code.secret_values(request.code)}
    if values:
        found.append(secrets_manifest.env_secret(request.identity, namespace, values))
    if credentials is not None:
        found.append(secrets_manifest.pull_secret(request.identity, namespace, credentials))
    return tuple(found)


def _pod_labels(kind: str, identity: RunIdentity) -> dict[str, str]:
    if kind == TRAIN_JOB:
        # Its pods come from the runtime's template, which takes no labels of a TrainJob; they are those of a
        # JobSet of the TrainJob's name.
        return {"jobset.sigs.k8s.io/jobset-name": ids.kube_name(identity)}
    return {ids.ITEM_KEY: ids.item_hash(identity)}


def _add_pull_secret(template: PodTemplate, name: str, problems: Problems) -> None:
    """After those that the queue has. A TrainJob has no place for it."""
    if template.kind in (SPARK, WORKFLOW):
        spec = problems.section(template.owner, "spec", template.owner_place)
        entry: Any = name if template.kind == SPARK else {"name": name}
        _append(spec, "imagePullSecrets", entry, join(template.owner_place, "spec"), problems)
    elif template.spec is not None:
        place = template.place if template.holder is None else join(template.place, "spec")
        _append(template.spec, "imagePullSecrets", {"name": name}, place, problems)


def _append(parent: dict[str, Any], key: str, entry: Any, place: str, problems: Problems) -> None:
    given = parent.get(key)
    if given is not None and not isinstance(given, list):
        problems.wrong_type(join(place, key), "a list", given)
    elif entry not in (given or []):
        parent[key] = [*(given or []), entry]


def _name(
    manifest: dict[str, Any], templates: list[PodTemplate], identity: RunIdentity, problems: Problems
) -> None:
    """Name and labels: of the object and of every pod made from it, by which agents find them again."""
    metadata = problems.section(manifest, "metadata", "")
    requested = metadata.pop("name", None) or metadata.pop("generateName", None)
    metadata.pop("generateName", None)
    labels = problems.section(metadata, "labels", "metadata")
    annotations = problems.section(metadata, "annotations", "metadata")
    if requested is not None:
        annotations[REQUESTED_NAME] = str(requested)
    metadata["name"] = ids.kube_name(identity)
    labels.update(ids.kube_labels(identity))
    annotations.update(ids.to_labels(identity))
    for template in templates:
        pod_labels = metadata_map(template, "labels", problems)
        if pod_labels is not None:
            pod_labels.update(ids.kube_labels(identity))
    _name_wrapped(manifest, templates, identity, problems)


def _name_wrapped(
    manifest: dict[str, Any], templates: list[PodTemplate], identity: RunIdentity, problems: Problems
) -> None:
    """Objects within the object, as in an AppWrapper: they keep a name that they have, since others within
    may speak of it, and get one of ours where they have none."""
    owners = {id(each.owner): (each.owner_place, each.owner) for each in templates}
    owners.pop(id(manifest), None)
    for number, (place, owner) in enumerate(owners.values()):
        metadata = problems.section(owner, "metadata", place)
        metadata.pop("generateName", None)
        if not metadata.get("name"):
            metadata["name"] = ids.kube_name(identity) + (f"-{number}" if number else "")
        problems.section(metadata, "labels", join(place, "metadata")).update(ids.kube_labels(identity))
