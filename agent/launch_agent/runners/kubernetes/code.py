"""Gives the pods of a run the job's code, where the image does not hold it.

    init container   the agent's own image, fetches the code by an order that a Secret of the run holds
    (another)        the run's image, installs the code's requirements, where the operator wants that
    main container   finds the code at `WORKDIR`, and starts there

The order is in the Secret that has the run's secret variables: made, emptied and deleted as one. The main
container has no way to it. All of it keeps to the Pod Security standard `restricted`, and says what it uses,
so that quotas let it pass.

Pitfall: kinds without a pod spec of their own (TrainJob, SparkApplication, Workflow steps) have no place for
a volume.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch_agent.runners.kubernetes import authorities
from launch_agent.spec.code import WORKDIR, Code
from launch_agent.spec.kubernetes.kinds import RAY_JOB
from launch_agent.spec.kubernetes.problems import Problems, join
from launch_agent.spec.kubernetes.templates import PodTemplate, main_container
from launch_agent.spec.model import RunRequest
from launch_agent.spec.secret import Secret

FETCH, INSTALL = "launch-agent-fetch", "launch-agent-install"
# No variable is called so: a dash is in none.
_KEY = "launch-agent-order."
_CODE, _ORDER, _SCRATCH = "launch-agent-code", "launch-agent-order", "launch-agent-scratch"
_ORDER_FOLDER, _CODE_FOLDER, _SCRATCH_FOLDER = "/etc/launch-agent/order", "/launch-agent/code", "/tmp"  # noqa: S108 - of a container
# Sub-folders of the volume: what `launch-agent fetch` makes, and where pip installs to.
_JOB, _PACKAGES = "job", "packages"
_PACKAGES_FOLDER = "/home/launch/packages"
# A user of ours: images of the agent have no other need for one, and root is not let in everywhere.
_USER = 1000
_RESOURCES = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "1", "memory": "1Gi"},
}
_INSTALL = f"""\
import os, subprocess, sys
if os.path.exists("requirements.txt"):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    what = ["install", "--target", "{_PACKAGES_FOLDER}", "-r", "requirements.txt"]
    sys.exit(subprocess.call(pip + what))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """How code is fetched: `image` is the agent's own, `volume` the source of the pod's volume."""

    image: str = ""
    volume: Mapping[str, Any] = field(default_factory=lambda: {"emptyDir": {}})


def secret_values(code: Code | None) -> dict[str, Secret]:
    """What the run's Secret holds beside its variables."""
    return {f"{_KEY}{name}": text for name, text in code.order.items()} if code is not None else {}


def add(
    templates: Sequence[PodTemplate],
    request: RunRequest,
    secret_name: str,
    fetching: Fetching,
    problems: Problems,
) -> None:
    """Put the code into every pod of the run's own, in place, once its containers are what they will be."""
    if request.code is None:
        return
    if not fetching.image:
        problems.add(
            "",
            "is for a job without a build, and this agent does not know its own image, which fetches code",
            "set runner.kubernetes.fetch-image (or LAUNCH_AGENT_IMAGE) to the agent's image",
        )
        return
    for template in templates:
        found = main_container(template)
        if template.helper or found is None:
            continue
        place = template.place or template.owner_place
        if template.spec is None:
            problems.add(
                place,
                f"has no pod that the code of a job could be put into ({template.kind or 'this kind'})",
                "have the job built (builder), or use a kind whose pods are part of it",
            )
            continue
        _add_to(template, template.spec, found[1], request, secret_name, fetching, problems)


def _add_to(
    template: PodTemplate,
    spec: dict[str, Any],
    main: dict[str, Any],
    request: RunRequest,
    secret_name: str,
    fetching: Fetching,
    problems: Problems,
) -> None:
    code = request.code
    assert code is not None, "asked for by `add` only with code"
    place = template.place if template.holder is None else join(template.place, "spec")
    _guard(template, problems)
    first = [_fetch(request, secret_name, fetching)]
    if code.requirements:
        first.append(_install(main, request, secret_name))
    for each in first:
        if request.authorities:
            # Its volume may not be there yet, where no container of the queue's wanted it.
            authorities.add(template, [(place, each)], request.authorities, problems)
    _extend(spec, "initContainers", place, first, problems)
    _extend(spec, "volumes", place, _volumes(code, secret_name, fetching), problems)
    mounts = [{"name": _CODE, "mountPath": WORKDIR, "subPath": _JOB}]
    if code.requirements:
        mounts.append({"name": _CODE, "mountPath": _PACKAGES_FOLDER, "subPath": _PACKAGES})
        env = list(main.get("env") or ())
        if not any(entry.get("name") == "PYTHONPATH" for entry in env):
            main["env"] = [*env, {"name": "PYTHONPATH", "value": _PACKAGES_FOLDER}]
    _extend(main, "volumeMounts", place, mounts, problems)
    main.setdefault("workingDir", WORKDIR)
    if template.kind == RAY_JOB:
        _enter(template, problems)


def _guard(template: PodTemplate, problems: Problems) -> None:
    """No container of the queue's may mount what is ours: the order has credentials in it."""
    for where, container in template.every_container:
        for place, mount in problems.numbered(container, "volumeMounts", where):
            if mount.get("name") in (_CODE, _ORDER, _SCRATCH):
                problems.add(join(place, "name"), f"is the agent's own {mount['name']!r}", "use another name")


def _fetch(request: RunRequest, secret_name: str, fetching: Fetching) -> dict[str, Any]:
    return {
        "name": FETCH,
        "image": fetching.image,
        "command": ["launch-agent", "fetch", _ORDER_FOLDER, _CODE_FOLDER],
        "env": [
            {"name": "HOME", "value": _SCRATCH_FOLDER},
            {"name": "TMPDIR", "value": _SCRATCH_FOLDER},
            *_proxies(request, secret_name),
        ],
        "resources": copy.deepcopy(_RESOURCES),
        "securityContext": {**_restricted(), "runAsUser": _USER, "readOnlyRootFilesystem": True},
        # The last words of a fetch that fails are why the run does.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": _CODE, "mountPath": _CODE_FOLDER},
            {"name": _ORDER, "mountPath": _ORDER_FOLDER, "readOnly": True},
            {"name": _SCRATCH, "mountPath": _SCRATCH_FOLDER},
        ],
    }


def _install(main: Mapping[str, Any], request: RunRequest, secret_name: str) -> dict[str, Any]:
    """As the main container's user, and with what that may use: it is the same image."""
    made = {
        "name": INSTALL,
        "command": ["python3", "-c", _INSTALL],
        "env": [{"name": "PYTHONNOUSERSITE", "value": "1"}, *_proxies(request, secret_name)],
        "workingDir": WORKDIR,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": _CODE, "mountPath": WORKDIR, "subPath": _JOB, "readOnly": True},
            {"name": _CODE, "mountPath": _PACKAGES_FOLDER, "subPath": _PACKAGES},
        ],
    }
    same = ("image", "imagePullPolicy", "securityContext", "resources")
    return made | {key: copy.deepcopy(main[key]) for key in same if key in main}


def _restricted() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _proxies(request: RunRequest, secret_name: str) -> list[dict[str, Any]]:
    """The variables that lead out of the cluster, of those that the agent passes on."""
    plain = [
        {"name": name, "value": value.replace("$", "$$")}
        for name, value in request.env.items()
        if name.lower().endswith("_proxy")
    ]
    secret = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret_name, "key": name}}}
        for name in request.secret_env
        if name.lower().endswith("_proxy")
    ]
    return [*plain, *secret]


def _volumes(code: Code, secret_name: str, fetching: Fetching) -> list[dict[str, Any]]:
    items = [{"key": f"{_KEY}{name}", "path": name} for name in code.order]
    return [
        {"name": _CODE, **copy.deepcopy(dict(fetching.volume))},
        {"name": _ORDER, "secret": {"secretName": secret_name, "items": items}},
        {"name": _SCRATCH, "emptyDir": {}},
    ]


def _enter(template: PodTemplate, problems: Problems) -> None:
    """Ray starts the job's command in a folder of its own."""
    spec = problems.section(template.owner, "spec", template.owner_place)
    lead = f"cd {WORKDIR} && "
    command = spec.get("entrypoint")
    if isinstance(command, str) and command and not command.startswith(lead):
        spec["entrypoint"] = lead + command


def _extend(
    parent: dict[str, Any], key: str, place: str, more: Sequence[dict[str, Any]], problems: Problems
) -> None:
    """After what the queue has: init containers that never end, such as a mesh's, begin before ours."""
    given = parent.get(key)
    if given is not None and not isinstance(given, list):
        problems.wrong_type(join(place, key), "a list", given)
        return
    taken = {item.get("name") for item in given or () if isinstance(item, dict) and "mountPath" not in item}
    if clash := [item["name"] for item in more if "mountPath" not in item and item["name"] in taken]:
        problems.add(join(place, key), f"has the agent's own name {clash[0]!r}", "use another name")
        return
    parent[key] = [*(given or ()), *more]
