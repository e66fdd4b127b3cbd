"""Build contexts in a volume."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from launch_agent import plugins
from launch_agent.errors import StoreError
from launch_agent.stores.pvc import ClaimStore, create
from tests.contracts.store import Place, StoreContract


@pytest.mark.req("KAN-13", "KAN-14")
class TestClaim(StoreContract):
    @pytest.fixture(params=["", "jobs/contexts"], ids=["volume", "prefix"])
    def place(self, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
        path = request.param
        prefix = f"{path}/" if path else ""
        mount = tmp_path / "mount"
        (mount / path).mkdir(parents=True)

        def contents() -> Mapping[str, bytes]:
            return {
                str(each.relative_to(mount)): each.read_bytes() for each in mount.rglob("*") if each.is_file()
            }

        return Place(
            store=plugins.load("stores", "pvc").create(f"pvc://builds/{path}", None, {"mount": str(mount)}),
            contents=contents,
            address=f"tar:///build-contexts/{prefix}",
            later=lambda seconds: ClaimStore("builds", mount, prefix, clock=lambda: time.time() + seconds),
            beside=lambda name: (mount / prefix / name).write_bytes(b"y") and None,
        )


def test_a_build_has_the_claim_where_the_address_says(tmp_path: Path) -> None:
    patch = create("pvc://builds", None, {"mount": str(tmp_path)}).build_pod()
    assert patch.volumes == [
        {"name": "build-contexts", "persistentVolumeClaim": {"claimName": "builds", "readOnly": True}}
    ]
    assert patch.mounts == [{"name": "build-contexts", "mountPath": "/build-contexts", "readOnly": True}]


def test_a_build_of_another_user_may_read(tmp_path: Path) -> None:
    file = tmp_path / "context"
    file.write_bytes(b"x")
    file.chmod(0o600)
    mount = tmp_path / "mount"
    mount.mkdir()
    create("pvc://builds", None, {"mount": str(mount)}).put(file, "k")
    (path,) = mount.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_claim_that_is_not_mounted(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the claim builds is not mounted") as caught:
        create("pvc://builds", None, {"mount": str(tmp_path / "nowhere")}).verify()
    assert "WANDB_LAUNCH_KANIKO_PVC_MOUNT_PATH" in caught.value.hint


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_volume_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    chosen = uuid.UUID(int=7)
    monkeypatch.setattr(uuid, "uuid4", lambda: chosen)
    (mount / f"launch-context-k.{chosen.hex}.part").symlink_to("/dev/full")
    file = tmp_path / "context"
    file.write_bytes(b"x" * 100_000)
    with pytest.raises(StoreError, match="No space left") as caught:
        create("pvc://builds", None, {"mount": str(mount)}).put(file, "k")
    assert "full" in caught.value.hint
    assert list(mount.iterdir()) == []
