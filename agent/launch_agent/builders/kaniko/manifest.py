"""A build's Job and Secrets: the base, what environment, store and registry add, and the config over it.

The pod has root in its own container, which kaniko needs to unpack images, and nothing of the node: it is
admitted by the Pod Security standard `baseline`. It has no key to the cluster.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch_agent.builders.kaniko.overlay import CONTAINER, lay_over
from launch_agent.builders.kaniko.settings import Settings
from launch_agent.spec.build import BuildContext
from launch_agent.spec.identity import MANAGED_BY, PREFIX, agent_key
from launch_agent.spec.image import ImageRef
from launch_agent.spec.passon import AUTHORITIES_FILE, AUTHORITIES_FOLDER, AUTHORITIES_VARIABLES
from launch_agent.spec.podpatch import BuildSecret, PodPatch

# Not the label by which an agent's runs are listed: a build is none.
BUILD_OF = f"{PREFIX}build-of"
# On the Job: what it makes.
IMAGE = f"{PREFIX}image"
_SECRETS = "/kaniko-secret"
_DOCKER = "/kaniko/.docker"
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


def job_name(prefix: str, ref: ImageRef) -> str:
    """Of the content and its place: equal builds of two agents meet in one Job, and no others do."""
    whole = hashlib.sha256(f"{ref.repository}:{ref.tag}".encode()).hexdigest()[:12]
    return f"{prefix}-{ref.tag[:8]}-{whole}"[-_LONGEST_NAME:].strip("-")


def compose(
    context: BuildContext,
    ref: ImageRef,
    uri: str,
    patch: PodPatch,
    settings: Settings,
    *,
    agent: str,
    namespace: str,
) -> Build:
    """`uri` is where the context lies, `patch` what the parts of the config add. Raises ConfigError for an
    overlay that cannot be laid over a Job."""
    name = job_name(settings.prefix, ref)
    patch = _own(settings) + _credentials(settings) + patch
    secrets = {secret.name: f"{name}-{secret.name}"[:253] for secret in patch.secrets}
    labels = {
        MANAGED_BY: "launch-agent",
        "app.kubernetes.io/component": "image-build",
        BUILD_OF: agent_key(agent),
    }
    meta = {"name": name, "namespace": namespace, "labels": labels}
    base = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**meta, "annotations": {f"{PREFIX}agent": agent, IMAGE: str(ref)}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(settings.timeout),
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {
                "metadata": {"labels": {**labels, **patch.labels}, "annotations": dict(patch.annotations)},
                "spec": _pod(settings, patch, secrets, [*_arguments(context, ref, uri), *patch.args]),
            },
        },
    }
    job = lay_over(base, settings.overlay)
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
    return Build(name=name, job=job, secrets=_secrets(needed, secrets, namespace, labels))


def _pod(
    settings: Settings, patch: PodPatch, secrets: Mapping[str, str], arguments: Sequence[str]
) -> dict[str, Any]:
    container = {
        "name": CONTAINER,
        "image": settings.image,
        "args": list(arguments),
        "env": _once([_filled(each, secrets) for each in patch.env], "name"),
        "volumeMounts": _once([dict(each) for each in patch.mounts], "mountPath"),
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **({"serviceAccountName": settings.account} if settings.account else {}),
        "containers": [container],
        "volumes": _once([_filled(each, secrets) for each in patch.volumes], "name"),
    }


def _arguments(context: BuildContext, ref: ImageRef, uri: str) -> list[str]:
    return [
        f"--context={uri}",
        f"--dockerfile={context.dockerfile}",
        f"--destination={ref}",
        # The digest comes back as the container's last words, which the Kubernetes API hands on.
        "--digest-file=/dev/termination-log",
        "--cache=true",
        f"--cache-repo={ref.repository}",
        "--snapshot-mode=redo",
        "--compressed-caching=false",
        *([f"--custom-platform={context.platform}"] if context.platform else []),
        *(f"--build-arg={key}={value}" for key, value in sorted(context.build_args.items())),
        *(f"--label={key}={value}" for key, value in sorted(context.labels.items())),
    ]


def _credentials(settings: Settings) -> PodPatch:
    """The Secret with credentials for the cloud, where the cluster has no identity of its own there."""
    patch = PodPatch()
    if settings.secret:
        file = f"{_SECRETS}/{settings.secret_key}"
        if settings.cloud == "azure":
            patch += PodPatch(
                env=[_reference("AZURE_STORAGE_ACCESS_KEY", settings.secret, settings.secret_key)]
            )
        else:
            variable = (
                "GOOGLE_APPLICATION_CREDENTIALS" if settings.cloud == "gcp" else "AWS_SHARED_CREDENTIALS_FILE"
            )
            patch += PodPatch(
                env=[{"name": variable, "value": file}, {"name": "AWS_SDK_LOAD_CONFIG", "value": "true"}][
                    : 1 if settings.cloud == "gcp" else 2
                ],
                volumes=[{"name": "cloud", "secret": {"secretName": settings.secret}}],
                mounts=[{"name": "cloud", "mountPath": _SECRETS, "readOnly": True}],
            )
    if settings.azure_secret:
        name, _, key = settings.azure_secret.partition("/")
        patch += PodPatch(env=[_reference("AZURE_STORAGE_ACCESS_KEY", name, key)])
    if settings.push_secret:
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        patch += PodPatch(
            env=[{"name": "DOCKER_CONFIG", "value": _DOCKER}],
            volumes=[
                {"name": "docker-config", "secret": {"secretName": settings.push_secret, "items": items}}
            ],
            mounts=[{"name": "docker-config", "mountPath": _DOCKER, "readOnly": True}],
        )
    return patch


def _own(settings: Settings) -> PodPatch:
    """Proxy and authorities, as the agent has them."""
    passed = settings.pass_on
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in passed.env.items()]
    env += [_reference(name, f"{{{_PASSED}}}", name) for name in passed.secret_env]
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


def _reference(variable: str, secret: str, key: str) -> dict[str, Any]:
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
