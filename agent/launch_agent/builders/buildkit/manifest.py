"""The container of a build's Job: a BuildKit without root that lives for one build (pure).

It unpacks images and runs steps in a user namespace of its own, for which it needs what the seccomp and
AppArmor profiles of container runtimes forbid: the Pod Security standards `baseline` and `restricted` do not
admit it. It gets no service account of the agent's and no credentials of a cloud: steps share its processes'
view, so they could read them. The context comes from an address that is signed for one object and a while.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from launch_agent.builders.buildkit import solve
from launch_agent.builders.buildkit.settings import Settings
from launch_agent.builders.jobs.manifest import Build, Frame, assemble, passed_on, pushing_with, reference
from launch_agent.builders.jobs.overlay import Overlay
from launch_agent.clients.oci import dockerconfig
from launch_agent.registries import pod
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import BuildSecret, PodPatch
from launch_agent.spec.secret import Secret

CONTAINER = "buildkit"
OVERLAY_KEY = "builder.buildkit-config"
DOCKER = "/etc/launch-agent/docker"
_REPEATED = frozenset({"--opt", "--local", "--secret", "--import-cache", "--export-cache"})
_SECRETS, _SETTINGS = "/run/launch-agent/secrets", "/etc/launch-agent/buildkit"
_FOLDER, _METADATA = "/tmp/context", "/tmp/metadata.json"  # noqa: S108 - of the pod
# The user that the rootless image is made for, and where it keeps its state.
_USER, _STATE = 1000, "/home/user/.local/share/buildkit"
_LINK, _ARCHIVE = "CONTEXT_LINK", "CONTEXT_ARCHIVE"
_TAR = "tar://"
# A token that ends is told by a helper, which reads what the agent renews.
_HELPER, _HELPERS, _ANSWER = "launch-agent", "/tmp/bin", "credentials.json"  # noqa: S108 - of the pod
# The digest comes back as the container's last words, which the Kubernetes API hands on.
_SCRIPT = f"""\
set -eu
if [ -n "${{{_ARCHIVE}:-}}" ]; then mkdir -p {_FOLDER}; tar -xzf "${_ARCHIVE}" -C {_FOLDER}; fi
if [ -n "${{{_LINK}:-}}" ]; then set -- "$@" "--opt=context=${_LINK}"; unset {_LINK}; fi
if [ -e {DOCKER}/{_ANSWER} ]; then
  mkdir -p {_HELPERS}; PATH={_HELPERS}:$PATH
  printf '#!/bin/sh\\ncat > /dev/null\\ncat {DOCKER}/{_ANSWER}\\n' > {_HELPERS}/docker-credential-{_HELPER}
  chmod +x {_HELPERS}/docker-credential-{_HELPER}
fi
buildctl-daemonless.sh build "$@"
grep -o '"{solve.DIGEST}": *"[^"]*"' {_METADATA} > /dev/termination-log
"""


def compose(
    context: BuildContext,
    ref: ImageRef,
    uri: str,
    link: Secret,
    patch: PodPatch,
    settings: Settings,
    *,
    secrets: Mapping[str, Secret],
    agent: str,
    namespace: str,
) -> Build:
    """`uri` is the store's address of the context, `link` one that can be read without credentials (empty
    for a volume that `patch` mounts); `secrets` are the files that steps may ask for. Raises ConfigError for
    an overlay that cannot be laid over a Job."""
    whole = passed_on(settings.pass_on) + _context(uri, link) + _secrets(secrets) + _daemon(ref, settings)
    if settings.push_secret:
        whole += pushing_with(settings.push_secret, DOCKER)
    told = solve.arguments(
        context,
        ref,
        settings,
        folder="" if link else _FOLDER,
        metadata=_METADATA,
        secrets={name: f"{_SECRETS}/{name}" for name in secrets},
    )
    container = {
        "image": settings.image,
        # The first word after the script is the script's own name.
        "command": ["/bin/sh", "-c", _SCRIPT, "build"],
        "args": told[1:],
        "securityContext": {
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        },
    }
    frame = Frame(agent=agent, namespace=namespace, prefix=settings.prefix, timeout=settings.timeout)
    overlay = Overlay(place=OVERLAY_KEY, container=CONTAINER, value=settings.overlay, repeated=_REPEATED)
    return assemble(ref, frame, container, whole + patch, overlay)


def opening(host: str, credentials: Credentials | None) -> PodPatch:
    """What lets the build push with the agent's own credentials."""
    if credentials is None or credentials.expires is None:
        return pod.with_credentials(host, credentials, DOCKER)
    helpers = {dockerconfig.keys_of(host)[0]: _HELPER}
    files = {
        "config.json": Secret(json.dumps({"credHelpers": helpers})),
        _ANSWER: dockerconfig.helper_answer(credentials),
    }
    return PodPatch(
        env=[{"name": "DOCKER_CONFIG", "value": DOCKER}],
        volumes=[{"name": "docker-config", "secret": {"secretName": "{docker-config}"}}],
        mounts=[{"name": "docker-config", "mountPath": DOCKER, "readOnly": True}],
        secrets=[BuildSecret(name="docker-config", files=files)],
    )


def _context(uri: str, link: Secret) -> PodPatch:
    if not link:
        return PodPatch(env=[{"name": _ARCHIVE, "value": uri.removeprefix(_TAR)}])
    # By the context's own name: an agent that joins the Job later brings another, and must not put it in the
    # place of the one that the pod is about to read.
    name = f"context-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"
    return PodPatch(
        env=[reference(_LINK, f"{{{name}}}", "link")],
        secrets=[BuildSecret(name=name, files={"link": link})],
    )


def _secrets(files: Mapping[str, Secret]) -> PodPatch:
    if not files:
        return PodPatch()
    return PodPatch(
        volumes=[{"name": "build-secrets", "secret": {"secretName": "{build-secrets}"}}],
        mounts=[{"name": "build-secrets", "mountPath": _SECRETS, "readOnly": True}],
        secrets=[BuildSecret(name="build-secrets", files=files)],
    )


def _daemon(ref: ImageRef, settings: Settings) -> PodPatch:
    # Without a /proc of its own for each step, which an unprivileged container cannot mount.
    flags = ["--oci-worker-no-process-sandbox"]
    state: dict[str, Any] = {"name": "state", "emptyDir": {}}
    patch = PodPatch(volumes=[state], mounts=[{"name": "state", "mountPath": _STATE}])
    if settings.is_plain:
        flags.append(f"--config={_SETTINGS}/buildkitd.toml")
        text = f'[registry."{ref.host}"]\nhttp = true\n'
        patch += PodPatch(
            volumes=[{"name": "settings", "secret": {"secretName": "{settings}"}}],
            mounts=[{"name": "settings", "mountPath": _SETTINGS, "readOnly": True}],
            secrets=[BuildSecret(name="settings", files={"buildkitd.toml": Secret(text)})],
        )
    env = {"BUILDKITD_FLAGS": " ".join(flags), "BUILDCTL_CONNECT_RETRIES_MAX": "60"}
    return patch + PodPatch(env=[{"name": name, "value": value} for name, value in env.items()])
