"""The emulators of stores are pinned, and stand in folders named by their pins."""

from __future__ import annotations

import json

import pytest

from tools import emulators, go_tools


def test_every_package_of_azurite_is_pinned_by_a_hash_and_no_address() -> None:
    lock = json.loads((go_tools.HERE / "azurite" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert len(packages) > 100
    assert all(entry.get("integrity") for entry in packages.values())
    # Where packages come from is up to npm's own configuration.
    assert not any("resolved" in entry for entry in packages.values())


def test_a_changed_pin_is_another_folder(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for place, _, without in emulators.EMULATORS.values():
        assert str(place()).startswith(str(tmp_path))
        assert not place().exists()
        assert without.startswith("tests of ")


def test_what_cannot_be_had_is_named(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise go_tools.CannotBuild("there is no network")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place, _, without = emulators.EMULATORS["azurite"]
    monkeypatch.setattr(emulators, "EMULATORS", {"azurite": (place, fail, without)})
    assert emulators.main() == 0
    assert (
        "left out: tests of Azure Blob Storage: cannot get azurite: there is no network"
        in capsys.readouterr().out
    )
