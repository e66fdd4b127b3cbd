"""A build's Job and Secrets: the base, what environment, store and registry add, and the config over it.

The pod has no key to the cluster. Names are ours whatever the config says: by them a build is found again.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch_agent.builders.jobs.overlay import Overlay, lay_over
from launch_agent.spec.identity import MANAGED_BY, PREFIX, agent_key
from launch_agent.spec.image import ImageRef
from launch_agent.spec.passon import AUTHORITIES_FILE, AUTHORITIES_FOLDER, AUTHORITIES_VARIABLES, PassOn
from launch_agent.spec.podpatch import BuildSecret, PodPatch

# Not the label by which an agent's runs are listed: a build is none.
BUILD_OF = f"{PREFIX}build-of"
# On the Job: what it makes.
IMAGE = f"{PREFIX}image"
_PASSED = "passed-on"
# An agent that dies removes nothing: the cluster does.
_KEPT_SECONDS = 600
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What to create: the Job, and its Secrets, which are to be owned by it."""

    name: str
    job: Mapping[str, Any]
    secrets: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is said of the Job and not of its container: `prefix` begins its name, `timeout` is seconds,
    `account` is the pod's service account, empty for the namespace's own."""

    agent: str
    namespace: str
    prefix: str
    timeout: float
    account: str = ""


def job_name(prefix: str, ref: ImageRef) -> str:
    """Of the content and its place: equal builds of two agents meet in one Job, and no others do."""
    whole = hashlib.sha256(f"{ref.repository}:{ref.tag}".encode()).hexdigest()[:12]
    return f"{prefix}-{ref.tag[:8]}-{whole}"[-_LONGEST_NAME:].strip("-")


def assemble(
    ref: ImageRef,
    frame: Frame,
    container: Mapping[str, Any],
    patch: PodPatch,
    overlay: Overlay,
    *,
    first: Sequence[Mapping[str, Any]] = (),
) -> Build:
    """`container` is the one that builds, without a name; `patch` is what is added to it and its pod. `first`
    are containers that run before it, whose variables may refer to the patch's Secrets. Raises ConfigError
    for an overlay that cannot be laid over a Job."""
    name = job_name(frame.prefix, ref)
    secrets = {secret.name: f"{name}-{secret.name}"[:253] for secret in patch.secrets}
    labels = {
        MANAGED_BY: "launch-agent",
        "app.kubernetes.io/component": "image-build",
        BUILD_OF: agent_key(frame.agent),
    }
    meta = {"name": name, "namespace": frame.namespace, "labels": labels}
    base: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**meta, "annotations": {f"{PREFIX}agent": frame.agent, IMAGE: str(ref)}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(frame.timeout),
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {
                "metadata": {"labels": {**labels, **patch.labels}, "annotations": dict(patch.annotations)},
                "spec": _pod(frame, {"name": overlay.container, **container}, patch, secrets),
            },
        },
    }
    if first:
        base["spec"]["template"]["spec"]["initContainers"] = _filled(first, secrets)
    job = lay_over(base, overlay)
    # Whatever the overlay says of them: by these the build is found and removed.
    theirs = job.get("metadata", {})
    job |= {
        "apiVersion": base["apiVersion"],
        "kind": base["kind"],
        "metadata": {
            **theirs,
            **meta,
            "labels": {**(theirs.get("labels") or {}), **labels},
            "annotations": {**(theirs.get("annotations") or {}), IMAGE: str(ref)},
        },
    }
    used = json.dumps(job)
    needed = [secret for secret in patch.secrets if f'"{secrets[secret.name]}"' in used]
    return Build(name=name, job=job, secrets=_secrets(needed, secrets, frame.namespace, labels))


def _pod(
    frame: Frame, container: Mapping[str, Any], patch: PodPatch, secrets: Mapping[str, str]
) -> dict[str, Any]:
    # What the cluster's own words do for all builders; a container may say otherwise.
    common = {
        "env": _once([_filled(each, secrets) for each in patch.env], "name"),
        "volumeMounts": _once([dict(each) for each in patch.mounts], "mountPath"),
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **({"serviceAccountName": frame.account} if frame.account else {}),
        "containers": [{**common, **container, "args": [*container["args"], *patch.args]}],
        "volumes": _once([_filled(each, secrets) for each in patch.volumes], "name"),
    }


def pushing_with(secret: str, folder: str) -> PodPatch:
    """The Docker config of an existing Secret, at a folder of the pod."""
    items = [{"key": ".dockerconfigjson", "path": "config.json"}]
    return PodPatch(
        env=[{"name": "DOCKER_CONFIG", "value": folder}],
        volumes=[{"name": "docker-config", "secret": {"secretName": secret, "items": items}}],
        mounts=[{"name": "docker-config", "mountPath": folder, "readOnly": True}],
    )


def passed_on(passed: PassOn) -> PodPatch:
    """Proxy and authorities, as the agent has them."""
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in passed.env.items()]
    env += [reference(name, f"{{{_PASSED}}}", name) for name in passed.secret_env]
    hidden = [BuildSecret(name=_PASSED, files=passed.secret_env)] if passed.secret_env else []
    patch = PodPatch(env=env, secrets=hidden)
    if passed.authorities:
        name, _, key = passed.authorities.partition("/")
        source = {"name": name, "items": [{"key": key, "path": AUTHORITIES_FILE.rpartition("/")[2]}]}
        patch += PodPatch(
            env=[{"name": variable, "value": AUTHORITIES_FILE} for variable in AUTHORITIES_VARIABLES],
            volumes=[{"name": "authorities", "configMap": source}],
            mounts=[{"name": "authorities", "mountPath": AUTHORITIES_FOLDER, "readOnly": True}],
        )
    return patch


def reference(variable: str, secret: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _secrets(
    wanted: Sequence[BuildSecret], names: Mapping[str, str], namespace: str, labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": secret.type,
            "metadata": {"name": names[secret.name], "namespace": namespace, "labels": dict(labels)},
            "data": {
                key: base64.b64encode(value.reveal().encode()).decode() for key, value in secret.files.items()
            },
        }
        for secret in wanted
    ]


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    """A copy with each Secret's own word in braces replaced by its real name."""
    if isinstance(value, str):
        for word, name in names.items():
            value = value.replace(f"{{{word}}}", name)
        return value
    if isinstance(value, Mapping):
        return {key: _filled(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, names) for item in value]
    return value


def _once(items: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Of items with the same key the first: what the administrator set goes before what we would."""
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        found.setdefault(str(item[key]), item)
    return list(found.values())
