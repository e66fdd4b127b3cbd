"""What is on its way survives the process."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.control.journal import Entry, Journal
from launch_agent.errors import LaunchError
from launch_agent.spec.model import Lease, RunIdentity


def entry(item_id: str = "item-1", **spec: object) -> Entry:
    identity = RunIdentity(
        agent="a",
        item_id=item_id,
        queue="q",
        queue_entity="team",
        run_id="abcd1234",
        entity="team",
        project="p",
    )
    return Entry(lease=Lease(item_id=item_id, queue="q", entity="team", spec=spec), identity=identity)


def test_an_entry_comes_back_in_another_process(tmp_path: Path) -> None:
    with Journal(tmp_path).held():
        Journal(tmp_path).record(entry(project="p", overrides={"args": ["--lr", "0.1"]}))
    with Journal(tmp_path).held():
        assert Journal(tmp_path).pending() == [entry(project="p", overrides={"args": ["--lr", "0.1"]})]


def test_an_erased_entry_is_gone_and_erasing_twice_is_harmless(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with journal.held():
        journal.record(entry())
        journal.erase("item-1")
        journal.erase("item-1")
        assert journal.pending() == []


@given(item_id=st.text(min_size=1, max_size=80))
def test_any_item_id_is_a_legal_file_name(tmp_path_factory: pytest.TempPathFactory, item_id: str) -> None:
    item_id = item_id.encode("utf-8", "ignore").decode() or "x"
    journal = Journal(tmp_path_factory.mktemp("journal"))
    with journal.held():
        journal.record(entry(item_id))
        assert [found.lease.item_id for found in journal.pending()] == [item_id]
        journal.erase(item_id)
        assert journal.pending() == []


def test_entries_are_for_their_owner_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state")
    with journal.held():
        journal.record(entry(_wandb_api_key="k" * 40))
        files = list((tmp_path / "state" / "launches").iterdir())
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600]


def test_a_damaged_entry_is_left_alone_and_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path)
    with journal.held():
        journal.record(entry("good"))
        (tmp_path / "launches" / "bad.json").write_text('{"lease": ')
        (tmp_path / "launches" / "old.json").write_text(
            json.dumps({"lease": {"item_id": "x"}, "identity": {}})
        )
        assert [found.lease.item_id for found in journal.pending()] == ["good"]
    assert "bad.json" in caplog.text
    assert "old.json" in caplog.text


def test_a_write_that_was_cut_short_is_no_entry(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with journal.held():
        (tmp_path / "launches" / "half.draft").write_text('{"lease"')
        assert journal.pending() == []


def test_two_agents_of_one_name_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        Journal(tmp_path).held(),
        pytest.raises(LaunchError, match="another agent of the same name") as caught,
        Journal(tmp_path).held(),
    ):
        pass
    assert "name" in caught.value.hint
    with Journal(tmp_path).held():
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(LaunchError, match="state folder") as caught,
        Journal(tmp_path / "file" / "state").held(),
    ):
        pass
    assert "state-dir" in caught.value.hint


def test_resources_are_remembered(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with journal.held():
        journal.remember_resource("local-container")
        journal.remember_resource("local-container")
        assert journal.known_resources() == ["local-container"]
