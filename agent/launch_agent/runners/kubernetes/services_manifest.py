"""The objects that accompany a run: a run spec's `additional_services`, each a Kubernetes object.

They are in the run's namespace, are removed with it, and have labels of their own. They keep the name that
their configuration gives, since the run finds them by it; macros such as `${run_id}` make it one of its own.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from launch_agent.spec import identity as ids
from launch_agent.spec.kubernetes import defaults, legal
from launch_agent.spec.kubernetes.kinds import kind_name
from launch_agent.spec.kubernetes.problems import SERVICES, Problems, join
from launch_agent.spec.kubernetes.templates import metadata_map
from launch_agent.spec.model import RunRequest

KINDS = ("/Pod", "/Service", "apps/Deployment")
_LEGAL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def compose(request: RunRequest, problems: Problems) -> tuple[dict[str, Any], ...]:
    """The objects, without their namespace. What is wrong with them is added to `problems`."""
    made = [_one(service, number, request, problems) for number, service in enumerate(request.services)]
    names: set[tuple[str, str]] = set()
    for number, manifest in enumerate(made):
        name = (str(manifest.get("kind")), manifest["metadata"]["name"])
        if name in names:
            problems.add(_place(number), f"has the name {name[1]!r} of another service", "give each its own")
        names.add(name)
    for number, manifest in enumerate(made):
        legal.check_labels(manifest, place_of(number), problems)
    return tuple(made)


def _one(service: Mapping[str, Any], number: int, request: RunRequest, problems: Problems) -> dict[str, Any]:
    place = place_of(number)
    manifest = problems.section(copy.deepcopy(dict(service)), "config", _place(number))
    kind = kind_name(str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if kind not in KINDS:
        hint = "a service is a v1 Pod, a v1 Service or an apps/v1 Deployment"
        problems.add(join(place, "kind"), f"is {str(manifest.get('kind'))[:80]!r}", hint)
    manifest.pop("status", None)
    metadata = problems.section(manifest, "metadata", place)
    name = metadata.get("name") or _name(service, number, request)
    if not isinstance(name, str) or not _LEGAL.fullmatch(name):
        hint = "a name has at most 63 lower-case letters, digits and inner dashes, and begins with a letter"
        problems.add(join(place, "metadata.name"), f"is {str(name)[:80]!r}, which is no legal name", hint)
    metadata["name"] = str(name)
    metadata.pop("generateName", None)
    labels = ids.service_labels(request.identity)
    problems.section(metadata, "labels", join(place, "metadata")).update(labels)
    for template in defaults.add_security(manifest, place, problems):
        pod_labels = metadata_map(template, "labels", problems)
        if pod_labels is not None:
            pod_labels.update(labels)
    return manifest


def _name(service: Mapping[str, Any], number: int, request: RunRequest) -> str:
    """Where the object has no name: the run's, and the service's own or its number."""
    given = re.sub(r"[^a-z0-9]+", "-", str(service.get("name") or "").lower()).strip("-")
    return f"{ids.kube_name(request.identity)}-{(given or str(number))[:22]}".strip("-")


def place_of(number: int) -> str:
    """The path of a service's object in the run spec."""
    return join(_place(number), "config")


def _place(number: int) -> str:
    return f"{SERVICES}[{number}]"
