"""Looks at a queue's configuration as an agent will: its schema, its contradictions, and what policy refuses.

A file holds either the settings of one resource (as the web app's form takes them) or a mapping of resources
to settings (as the backend stores them, also below `resource_args`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from launch_agent.config import schema
from launch_agent.config.finding import Finding, Path, Severity, dotted, follow
from launch_agent.spec import sagemaker, vertex
from launch_agent.spec.docker_keys import canonical
from launch_agent.spec.kubernetes.defaults import JOB_FIELDS
from launch_agent.spec.kubernetes.review import review
from launch_agent.spec.policy import PROTECTED_SECRETS, docker, kubernetes
from launch_agent.spec.policy.rules import Demand
from launch_agent.spec.problem import Problem

SCHEMA = "queue-config"
_PATH_PART = re.compile(r"\[[0-9]+\]|[^.\[\]]+")
_VERTEX_NAMES = ("vertex", "gcp-vertex")
_VERTEX_MARKS = frozenset({"worker_pool_specs", "workerPoolSpecs", "job_spec", "jobSpec", "staging_bucket"})
# Keys by which the settings of a resource are known where the file does not name it.
_MARKS = {
    "kubernetes": frozenset({"apiVersion", "kind", "metadata", "namespace"}),
    "sagemaker": frozenset({"RoleArn", "ResourceConfig", "StoppingCondition", "OutputDataConfig"}),
}


def resource_of(value: Mapping[str, Any]) -> str:
    """The resource whose settings these are by their keys; empty where they are nobody's."""
    for resource, marks in _MARKS.items():
        if marks & value.keys():
            return resource
    spec = value.get("spec")
    if isinstance(spec, Mapping):
        return "vertex" if _VERTEX_MARKS & spec.keys() else "kubernetes"
    return "local-container" if any(map(_is_docker, value)) else ""


def is_mostly_docker(value: Mapping[str, Any]) -> bool:
    """Whether more than half of the keys are options of docker run."""
    return 2 * sum(map(_is_docker, value)) > len(value)


def _is_docker(key: str) -> bool:
    return canonical(key) in schema.load(SCHEMA)["properties"]["local-container"]["properties"]


def is_wrapped(value: Mapping[str, Any]) -> bool:
    """Whether the keys are names of resources, or the one key `resource_args`."""
    names = {*schema.load(SCHEMA)["properties"], *_VERTEX_NAMES}
    return bool(value) and ("resource_args" in value or all(key in names for key in value))


def settings_of(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The resources in a file and their settings; empty where they are nobody's."""
    return [(resource, settings) for _, resource, settings in _parts(value)]


def findings(value: Mapping[str, Any]) -> list[Finding]:
    """Everything there is to say about a queue's configuration, without places."""
    found: list[Finding] = []
    for prefix, resource, settings in _parts(value):
        within = _resource_findings(resource, settings)
        found += [replace(finding, path=(*prefix, *finding.path)) for finding in within]
    if not found and not is_wrapped(value) and value and not resource_of(value):
        message = "these are the settings of no resource"
        hint = "a kubernetes queue has spec, a docker queue options of docker run"
        found.append(Finding(severity=Severity.ERROR, code="unknown-kind", message=message, hint=hint))
    return found


def _parts(value: Mapping[str, Any]) -> Iterable[tuple[Path, str, Any]]:
    """Path, resource and settings of each resource in the file."""
    if not is_wrapped(value):
        if resource := resource_of(value):
            yield (), resource, value
        return
    prefix: Path = ("resource_args",) if "resource_args" in value else ()
    inner = value["resource_args"] if prefix else value
    for name, settings in inner.items() if isinstance(inner, Mapping) else ():
        yield (*prefix, name), "vertex" if name in _VERTEX_NAMES else name, settings


def _resource_findings(resource: str, settings: Any) -> list[Finding]:
    spelt: dict[str, str] = {}
    checked = settings
    if resource == "local-container" and isinstance(settings, Mapping):
        spelt = {canonical(key): key for key in settings}
        checked = {canonical(key): item for key, item in settings.items()}
    found = []
    for finding in schema.findings(SCHEMA, {resource: checked}):
        path = finding.path[1:]
        if path and path[0] in spelt:
            path = (spelt[str(path[0])], *path[1:])
        if not _is_template(settings, path):
            found.append(replace(finding, path=path))
    if not found and isinstance(settings, Mapping):
        if resource == "kubernetes":
            found += _kubernetes(settings)
        elif resource == sagemaker.RESOURCE:
            found += _sagemaker(settings)
        elif resource == vertex.RESOURCE:
            found += [_problem(each) for each in vertex.problems(settings)]
            found += [_doubt(each) for each in vertex.doubts(settings)]
        found += _refusals(resource, settings)
    return found


def _is_template(settings: Any, path: Path) -> bool:
    """Whether a template variable or macro stands at the path: its value is not known yet."""
    value = follow(settings, path)
    return isinstance(value, str) and ("{{" in value or "${" in value)


def _kubernetes(settings: Mapping[str, Any]) -> list[Finding]:
    found = []
    metadata, spec = settings.get("metadata") or {}, settings.get("spec") or {}
    inner, outer = metadata.get("namespace"), settings.get("namespace")
    if inner and outer and inner != outer:
        found.append(
            _finding(
                Severity.ERROR,
                "contradiction",
                ("namespace",),
                f"the namespace is {outer!r} here and {inner!r} in metadata.namespace",
                "keep one of the two",
            )
        )
    found += _backoff(spec, ("spec",))
    template = spec.get("template")
    if isinstance(template, Mapping):
        found += [
            _finding(
                Severity.WARNING,
                "wrong-level",
                ("spec", "template", key),
                f"{key!r} is a field of {whose}, not of the pod template; agents read it as one",
                f"write it at {where}",
            )
            for key in template
            for whose, where in _belongs(key)
        ]
    return found + [
        _problem(each) for each in review(settings) if not _is_template(settings, _parts_of(each.place))
    ]


def _sagemaker(settings: Mapping[str, Any]) -> list[Finding]:
    misfits = sagemaker.misfits(settings)
    found = [
        *(_problem(each) for each in sagemaker.problems(settings)),
        *(_doubt(each) if each.why == sagemaker.NO_KEY else _problem(each) for each in misfits),
    ]
    return [each for each in found if not _is_template(settings, each.path)]


def _belongs(key: str) -> Iterable[tuple[str, str]]:
    """Whose field a key is that is often written one level too deep, below spec.template, and its place."""
    spelt = "backoffLimit" if key == "backOffLimit" else key
    if spelt in JOB_FIELDS:
        yield "the Job's spec", f"spec.{spelt}"
    elif key == "securityContext":
        yield "containers", "spec.template.spec.containers[0].securityContext"


def _problem(problem: Problem) -> Finding:
    message = f"it {problem.why}; agents refuse every job for that"
    return _finding(Severity.ERROR, "not-usable", _parts_of(problem.place), message, problem.hint)


def _doubt(problem: Problem) -> Finding:
    return _finding(
        Severity.WARNING, "unknown-word", _parts_of(problem.place), f"it {problem.why}", problem.hint
    )


def _parts_of(place: str) -> Path:
    return tuple(int(part[1:-1]) if part.startswith("[") else part for part in _PATH_PART.findall(place))


def _backoff(spec: Mapping[str, Any], path: Path) -> list[Finding]:
    """`backOffLimit`, as a widely copied example spells it. A contradiction is an error of its own."""
    if "backOffLimit" not in spec or spec.get("backoffLimit", spec["backOffLimit"]) != spec["backOffLimit"]:
        return []
    message = "'backOffLimit' is an older form; Kubernetes spells it with a small o"
    hint = f"the newer form is {dotted((*path, 'backoffLimit'))}"
    return [_finding(Severity.WARNING, "older-form", (*path, "backOffLimit"), message, hint)]


def _refusals(resource: str, settings: Mapping[str, Any]) -> list[Finding]:
    """What an agent with the default policy refuses: a warning, since agents can be opened for it."""
    args = {key: item for key, item in settings.items() if key != "builder"}
    demands: Iterable[Demand] = ()
    if resource == docker.RESOURCE:
        demands = docker.demands(args, secure_mode=False)
    elif resource == kubernetes.RESOURCE:
        demands = kubernetes.demands(args, secure_mode=False, protected_secrets=PROTECTED_SECRETS)
    return [_refusal(demand) for demand in demands]


def _refusal(demand: Demand) -> Finding:
    path = _parts_of(demand.path.removeprefix(f"resource_args.{demand.resource}"))
    switch = demand.values in ((), ("true",))
    opened = "true" if switch else f"[{', '.join(map(repr, demand.values))}]"
    hint = demand.closed or (
        f"an agent takes it with policy: {{allow: {{{demand.resource}: {{{demand.key}: {opened}}}}}}}"
    )
    message = f"it {demand.why}; agents refuse that unless their policy allows it"
    if demand.closed:
        message = f"it {demand.why}; agents refuse that"
    return _finding(Severity.WARNING, "refused-by-default", path, message, hint)


def _finding(severity: Severity, code: str, path: Path, message: str, hint: str) -> Finding:
    return Finding(severity=severity, code=code, path=path, message=message, hint=hint, at_key=True)
