"""Build contexts in a volume that the agent and its builds both mount: no cloud is needed.

Pitfall: a claim that only one node may mount keeps builds on the agent's node; ReadWriteMany lets them run
anywhere.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launch_agent.errors import StoreError
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret
from launch_agent.stores import Cloud
from launch_agent.stores.naming import MARK, name_of, prefix_of, probe

# Where a build has the claim; kaniko keeps its own folders out of images, so it is not below /kaniko.
MOUNT = "/build-contexts"
_VOLUME = "build-contexts"


class ClaimStore:
    """The folder `prefix` of the claim `claim`, which the agent has at `mount`."""

    def __init__(
        self, claim: str, mount: Path, prefix: str = "", *, clock: Callable[[], float] = time.time
    ) -> None:
        self._claim = claim
        self._mount = mount
        self._prefix = prefix
        self._clock = clock

    def verify(self) -> None:
        """Write and delete a file, as contexts are."""
        if not self._mount.is_dir():
            raise StoreError(
                f"the claim {self._claim} is not mounted at {self._mount}",
                hint="WANDB_LAUNCH_KANIKO_PVC_MOUNT_PATH names where the agent has it",
            )
        path = self._path(probe())
        with self._speaking("write to"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            path.unlink()

    def put(self, archive: Path, key: str) -> str:
        """A build never sees half a file: it gets its name by a rename."""
        path = self._path(key)
        # Two agents may store the same context at once.
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        with self._speaking("write to"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(archive, part)
                with part.open("rb") as stream:
                    os.fsync(stream.fileno())
                # A build may run as another user.
                part.chmod(0o644)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return f"tar://{MOUNT}/{path.relative_to(self._mount)}"

    def link(self, key: str, seconds: float) -> Secret:
        """None: builds mount the claim."""
        return Secret("")

    def delete(self, key: str) -> None:
        with self._speaking("delete from"):
            self._path(key).unlink(missing_ok=True)

    def sweep(self, older_than: float) -> int:
        removed = 0
        with self._speaking("clean up"):
            for path in (self._mount / self._prefix).glob(f"{MARK}*"):
                if self._clock() - path.stat().st_mtime > older_than:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def build_pod(self) -> PodPatch:
        """The claim, to read from."""
        source = {"claimName": self._claim, "readOnly": True}
        return PodPatch(
            volumes=[{"name": _VOLUME, "persistentVolumeClaim": source}],
            mounts=[{"name": _VOLUME, "mountPath": MOUNT, "readOnly": True}],
        )

    def _path(self, key: str) -> Path:
        return self._mount / name_of(self._prefix, key)

    @contextmanager
    def _speaking(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"cannot {doing} the claim {self._claim} at {self._mount}: {error}",
                hint="is the volume full, or mounted for reading only?",
            ) from error


def create(uri: str, environment: Cloud | None, options: Mapping[str, Any]) -> ClaimStore:
    """`uri` is `pvc://claim/path`; `options` holds `mount`, where the agent has the claim."""
    address = urlsplit(uri)
    return ClaimStore(address.netloc, Path(options["mount"]), prefix_of(address.path))
