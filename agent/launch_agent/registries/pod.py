"""What a build's pod needs to push: a Docker config, as a file of a Secret that exists for that build.

The config names a helper program where the pod has an identity in the registry's cloud, so that a long build
renews its token, and holds credentials where it has not.
"""

from __future__ import annotations

import json

from launch_agent.clients.oci.dockerconfig import for_build
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import BuildSecret, PodPatch
from launch_agent.spec.secret import Secret

# Where kaniko looks; other builders are told by the variable.
FOLDER = "/kaniko/.docker"
_NAME = "docker-config"
_KEY = ".dockerconfigjson"


def with_helper(host: str, helper: str) -> PodPatch:
    """The program `docker-credential-<helper>` of the build's image knows how to log in to the host."""
    return _mounted(Secret(json.dumps({"credHelpers": {host: helper}})))


def with_credentials(host: str, credentials: Credentials | None, folder: str = FOLDER) -> PodPatch:
    """These credentials open the host; None where it needs none."""
    return PodPatch() if credentials is None else _mounted(for_build(host, credentials), folder)


def _mounted(config: Secret, folder: str = FOLDER) -> PodPatch:
    items = [{"key": _KEY, "path": "config.json"}]
    return PodPatch(
        env=[{"name": "DOCKER_CONFIG", "value": folder}],
        volumes=[{"name": _NAME, "secret": {"secretName": f"{{{_NAME}}}", "items": items}}],
        mounts=[{"name": _NAME, "mountPath": folder, "readOnly": True}],
        secrets=[BuildSecret(name=_NAME, files={_KEY: config}, type="kubernetes.io/dockerconfigjson")],
    )
