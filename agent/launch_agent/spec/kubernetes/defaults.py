"""What the product adds to a queue's manifest where the queue says nothing, and nothing else.

Jobs do not start over by themselves, are removed a minute after their end, and their containers are kept from
gaining privileges. A value that is set is left alone, and what would contradict a value that is set is not
added. `with_defaults` is what an agent will make of a queue's configuration, for showing it to people.

The documents write some fields of a Job one level too deep, below `spec.template`, and `backoffLimit` with a
large O. Configurations that follow them mean what the documents say, so such fields are moved to their place.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from launch_agent.spec.kubernetes.kinds import JOB, POD, TRAIN_JOB, kind_name
from launch_agent.spec.kubernetes.problems import Problems, join
from launch_agent.spec.kubernetes.templates import PodTemplate, find

API_VERSION = "batch/v1"
KIND = "Job"
BACKOFF_LIMIT = 0
# Seconds: long enough for a look, short enough that ended Jobs do not pile up.
TTL_SECONDS_AFTER_FINISHED = 60
RESTART_POLICY = "Never"
_MISSPELT_BACKOFF = "backOffLimit"
# Fields of a Job's spec that are often written below its template.
JOB_FIELDS = ("backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds", "completions")


def with_defaults(resource_args: Mapping[str, Any]) -> dict[str, Any]:
    """A queue's configuration with everything that an agent adds to it. Applying it twice changes nothing.

    Raises SubmitRejected, naming all places, where the configuration has not the shape of a manifest.
    """
    problems = Problems()
    manifest = copy.deepcopy(dict(resource_args))
    fill_head(manifest, problems)
    add(manifest, problems)
    problems.check()
    return manifest


def fill_head(manifest: dict[str, Any], problems: Problems) -> str:
    """Make the manifest a Job where it does not say what it is; its `group/Kind`."""
    given = {key: manifest.get(key) for key in ("apiVersion", "kind")}
    for key, value in given.items():
        if value is not None and (not isinstance(value, str) or not value.strip()):
            problems.wrong_type(key, "a text", value)
    if given["apiVersion"] is None and isinstance(given["kind"], str) and given["kind"] != KIND:
        problems.add("apiVersion", f"is missing, and the kind is {given['kind']!r}", "set apiVersion")
    if given["kind"] is None and isinstance(given["apiVersion"], str) and given["apiVersion"] != API_VERSION:
        problems.add("kind", f"is missing, and apiVersion is {given['apiVersion']!r}", "set kind")
    head: dict[str, Any] = {"apiVersion": given["apiVersion"] or API_VERSION, "kind": given["kind"] or KIND}
    rest = {key: value for key, value in manifest.items() if key not in head}
    if "metadata" in rest:
        head["metadata"] = rest.pop("metadata")  # where readers look for it
    manifest.clear()
    manifest.update(head | rest)
    return kind_name(str(head["apiVersion"]), str(head["kind"]))


def add(manifest: dict[str, Any], problems: Problems) -> list[PodTemplate]:
    """Add what the manifest leaves out, in place; its pod templates, as `templates.find` has them."""
    _add_to_objects(manifest, "", problems)
    return add_security(manifest, "", problems)


def add_security(manifest: dict[str, Any], place: str, problems: Problems) -> list[PodTemplate]:
    """Add the containers' security defaults alone, in place. `place` is the manifest's own path."""
    templates = find(manifest, problems, place)
    for template in templates:
        if template.kind == TRAIN_JOB:
            continue  # its trainer takes no security context: that is the runtime's
        for container_place, container in template.every_container:
            _add_context(container, container_place, template.spec or {}, problems)
    return templates


def _add_to_objects(value: Any, place: str, problems: Problems, *, outermost: bool = True) -> None:
    """Jobs and Pods wherever they stand: an AppWrapper holds them whole."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            _add_to_objects(item, f"{place}[{number}]", problems, outermost=False)
    if not isinstance(value, dict):
        return
    api_version, kind = value.get("apiVersion"), value.get("kind")
    if isinstance(api_version, str) and isinstance(kind, str):
        name = kind_name(api_version, kind)
        # A reference to an object has these two keys as well, and no spec.
        if name == JOB and (outermost or "spec" in value):
            _add_to_job(value, place, problems, outermost=outermost)
            return
        if name == POD and (outermost or "spec" in value):
            _add_to_pod(problems.section(value, "spec", place))
            return
    for key, item in value.items():
        _add_to_objects(item, join(place, str(key)), problems, outermost=False)


def _add_to_job(job: dict[str, Any], place: str, problems: Problems, *, outermost: bool) -> None:
    spec_place, spec = join(place, "spec"), problems.section(job, "spec", place)
    template = problems.section(spec, "template", spec_place)
    template_place = join(spec_place, "template")
    _spell(spec, spec_place, problems)
    _spell(template, template_place, problems)
    for key in JOB_FIELDS:
        _lift(template, spec, key, join(template_place, key), problems)
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = BACKOFF_LIMIT
    # Who wraps a Job watches it, and would miss it.
    if outermost and spec.get("ttlSecondsAfterFinished") is None:
        spec["ttlSecondsAfterFinished"] = TTL_SECONDS_AFTER_FINISHED
    pod = problems.section(template, "spec", template_place)
    _add_to_pod(pod)
    _lift_security(template, pod, template_place, problems)


def _add_to_pod(pod: dict[str, Any]) -> None:
    if pod.get("restartPolicy") is None:
        pod["restartPolicy"] = RESTART_POLICY
    if pod.get("containers") is None:
        pod["containers"] = [{}]


def _spell(spec: dict[str, Any], place: str, problems: Problems) -> None:
    if _MISSPELT_BACKOFF in spec:
        value = spec.pop(_MISSPELT_BACKOFF)
        _set_once(spec, "backoffLimit", value, join(place, _MISSPELT_BACKOFF), problems)


def _lift(source: dict[str, Any], target: dict[str, Any], key: str, place: str, problems: Problems) -> None:
    if key in source:
        _set_once(target, key, source.pop(key), place, problems)


def _set_once(target: dict[str, Any], key: str, value: Any, place: str, problems: Problems) -> None:
    known = target.get(key)
    if value is None or known == value:
        return
    if known is not None:
        problems.add(place, f"is {value!r}, and {key} is {known!r}", f"keep {key} alone")
    target[key] = value


def _lift_security(template: dict[str, Any], pod: dict[str, Any], place: str, problems: Problems) -> None:
    """A security context beside the pod's spec, as in the documents' example, is meant for containers."""
    if "securityContext" not in template:
        return
    wanted = template.pop("securityContext")
    if wanted is None:
        return
    if not isinstance(wanted, dict):
        problems.wrong_type(join(place, "securityContext"), "a mapping", wanted)
        return
    containers = pod.get("containers")
    for container in containers if isinstance(containers, list) else ():
        if isinstance(container, dict) and isinstance(container.get("securityContext") or {}, dict):
            given = container.get("securityContext") or {}
            container["securityContext"] = {**copy.deepcopy(wanted), **given}


def _add_context(container: dict[str, Any], place: str, pod: Mapping[str, Any], problems: Problems) -> None:
    if _is_windows(pod):
        return  # it knows none of the three, and the API server refuses them
    context = problems.section(container, "securityContext", place)
    if context.get("privileged"):
        return
    added = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if _adds_capability(context, "SYS_ADMIN"):
        del added["allowPrivilegeEscalation"]  # the API server takes the two together for a contradiction
    pod_context = pod.get("securityContext")
    if isinstance(pod_context, Mapping) and pod_context.get("seccompProfile") is not None:
        del added["seccompProfile"]  # it is set, for all containers of the pod
    for key, value in added.items():
        if context.get(key) is None:
            context[key] = value
    if not context:
        del container["securityContext"]


def _is_windows(pod: Mapping[str, Any]) -> bool:
    system = pod.get("os")
    return isinstance(system, Mapping) and system.get("name") == "windows"


def _adds_capability(context: Mapping[str, Any], name: str) -> bool:
    capabilities = context.get("capabilities")
    added = capabilities.get("add") if isinstance(capabilities, Mapping) else None
    return isinstance(added, list) and bool({name, f"CAP_{name}"} & {str(each).upper() for each in added})
