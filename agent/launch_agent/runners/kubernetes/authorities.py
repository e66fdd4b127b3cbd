"""Gives a run's containers the certificate authorities that its agent trusts.

A ConfigMap in the run's namespace is mounted as in the agent's own pod, and the usual variables speak of it.
Who mounts something there, or sets one of the variables, means something else by it and is left alone.

Pitfall: kinds without a pod spec of their own get nothing: a TrainJob's runtime has it, Spark writes one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from launch_agent.spec.kubernetes.problems import Problems, join
from launch_agent.spec.kubernetes.templates import PodTemplate
from launch_agent.spec.passon import AUTHORITIES_FILE, AUTHORITIES_FOLDER, AUTHORITIES_VARIABLES

_VOLUME = "launch-agent-ca"


def add(
    template: PodTemplate,
    containers: Iterable[tuple[str, dict[str, Any]]],
    config_map: str,
    problems: Problems,
) -> None:
    """Mount the ConfigMap (`name/key`) into those of the template's containers that run the job, in place."""
    if template.spec is None:
        return
    place = template.place if template.holder is None else join(template.place, "spec")
    ours = [found for found in containers if _wants_ours(*found, problems)]
    volumes = [volume for _, volume in problems.numbered(template.spec, "volumes", place)]
    name, _, key = config_map.partition("/")
    wanted = {"name": _VOLUME, "configMap": {"name": name, "items": [{"key": key, "path": "ca.crt"}]}}
    others = [volume for volume in volumes if volume != wanted]
    if not ours or any(volume.get("name") == _VOLUME for volume in others):
        return
    if len(others) == len(volumes):
        template.spec["volumes"] = [*volumes, wanted]
    for where, container in ours:
        mounts = [mount for _, mount in problems.numbered(container, "volumeMounts", where)]
        mount = {"name": _VOLUME, "mountPath": AUTHORITIES_FOLDER, "readOnly": True}
        container["volumeMounts"] = [*mounts, mount]
        variables = [{"name": variable, "value": AUTHORITIES_FILE} for variable in AUTHORITIES_VARIABLES]
        container["env"] = [*variables, *container.get("env", ())]


def _wants_ours(place: str, container: dict[str, Any], problems: Problems) -> bool:
    mounts = (mount for _, mount in problems.numbered(container, "volumeMounts", place))
    taken = any(str(mount.get("mountPath", "")).rstrip("/") == AUTHORITIES_FOLDER for mount in mounts)
    names = {entry.get("name") for _, entry in problems.numbered(container, "env", place)}
    return not taken and names.isdisjoint(AUTHORITIES_VARIABLES)
