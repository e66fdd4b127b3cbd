"""A container before kaniko's that fetches the context by a signed address.

kaniko opens Azure's store by the storage account's key and by nothing else. Where there is none, and the
agent has an identity instead, it signs an address for that one context, and a few lines of Python in the
agent's own image fetch it, with what every Python has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launch_agent.builders.jobs.manifest import passed_on, reference
from launch_agent.spec.passon import PassOn
from launch_agent.spec.podpatch import BuildSecret, PodPatch
from launch_agent.spec.secret import Secret

FOLDER = "/build-contexts"
URI = f"tar://{FOLDER}/context.tar.gz"
_VOLUME, _SECRET, _KEY, _VARIABLE = "fetched", "context-link", "link", "CONTEXT_LINK"
_USER = 1000
# The last words say why, without the address, whose signature opens the context.
_SCRIPT = f"""\
import os, shutil, sys, time, urllib.request
for pause in (1, 3, 9, 0):
    try:
        with urllib.request.urlopen(os.environ["{_VARIABLE}"], timeout=60) as answer:
            with open("{FOLDER}/context.tar.gz", "wb") as file:
                shutil.copyfileobj(answer, file, 1 << 20)
        sys.exit(0)
    except (OSError, ValueError) as error:
        why = f"the build context cannot be fetched: {{error}}"
        print(why, flush=True)
        if getattr(error, "code", 500) < 500:
            break
        time.sleep(pause)
sys.exit(why)
"""


def fetched(link: Secret) -> PodPatch:
    """What kaniko's container and its pod need of it."""
    return PodPatch(
        volumes=[{"name": _VOLUME, "emptyDir": {}}],
        mounts=[{"name": _VOLUME, "mountPath": FOLDER, "readOnly": True}],
        secrets=[BuildSecret(name=_SECRET, files={_KEY: link})],
    )


def containers(image: str, passed: PassOn) -> Sequence[Mapping[str, Any]]:
    """The container that fetches, with proxy and authorities as the agent has them."""
    network = passed_on(passed)
    security = {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return [
        {
            "name": "context",
            "image": image,
            "command": ["python3", "-c", _SCRIPT],
            "env": [reference(_VARIABLE, f"{{{_SECRET}}}", _KEY), *network.env],
            "volumeMounts": [{"name": _VOLUME, "mountPath": FOLDER}, *network.mounts],
            "securityContext": security,
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
    ]
