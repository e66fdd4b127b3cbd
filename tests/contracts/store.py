"""What every store of build contexts must do; a test module of a kind brings the fixture `place`."""

from __future__ import annotations

import os
import random
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from launch_agent.errors import StoreError
from launch_agent.stores import ContextStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A store and a look behind it: `contents` is everything that is kept there, by name; `later` is the same
    store so many seconds from now."""

    store: ContextStore
    contents: Callable[[], Mapping[str, bytes]]
    # The address that the store gives for a key begins with this.
    address: str
    later: Callable[[float], ContextStore]
    # Puts something of another program beside the contexts.
    beside: Callable[[str], None]
    # Where a link leads to with an emulator, and whether that looks at what is signed.
    reach: Callable[[str], str] = str
    judges_links: bool = False


class StoreContract:
    def test_verify_leaves_nothing_behind(self, place: Place) -> None:
        before = dict(place.contents())
        place.store.verify()
        assert dict(place.contents()) == before

    def test_what_is_put_is_there_under_its_address(self, place: Place, tmp_path: Path) -> None:
        file = tmp_path / "context.tar.gz"
        file.write_bytes(b"a context")
        address = place.store.put(file, "k1.tar.gz")
        assert address == f"{place.address}launch-context-k1.tar.gz"
        assert b"a context" in place.contents().values()
        file.write_bytes(b"another")
        assert place.store.put(file, "k1.tar.gz") == address, "an equal key is put anew"
        assert list(place.contents().values()) == [b"another"]

    def test_a_large_context_goes_in_parts(self, place: Place, tmp_path: Path) -> None:
        file = tmp_path / "large"
        content = random.Random(7).randbytes(1024 * 1024) * 20
        file.write_bytes(content)
        place.store.put(file, "large")
        assert list(place.contents().values()) == [content]

    def test_a_link_opens_one_context(self, place: Place, tmp_path: Path) -> None:
        file = tmp_path / "context"
        file.write_bytes(b"a context")
        place.store.put(file, "k6")
        place.store.put(file, "k7")
        link = place.store.link("k6", 600).reveal()
        if not link:
            assert place.store.build_pod().mounts, "who has no links is mounted"
            return
        with urllib.request.urlopen(place.reach(link), timeout=20) as answer:
            assert answer.read() == b"a context"
        if place.judges_links:
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(place.reach(link).replace("k6", "k7"), timeout=20)
            assert refused.value.code == 403
            refused.value.close()

    def test_delete_is_harmless_twice(self, place: Place, tmp_path: Path) -> None:
        file = tmp_path / "context"
        file.write_bytes(b"x")
        place.store.put(file, "k2")
        place.store.delete("k2")
        assert place.contents() == {}
        place.store.delete("k2")

    def test_a_sweep_takes_what_is_ours_and_old(self, place: Place, tmp_path: Path) -> None:
        file = tmp_path / "context"
        file.write_bytes(b"x")
        place.beside("of-another-program")
        for key in ("k3", "k4"):
            place.store.put(file, key)
        assert place.store.sweep(3600) == 0
        assert len(place.contents()) == 3
        assert place.later(7200).sweep(3600) == 2
        (left,) = place.contents()
        assert left.endswith("of-another-program")

    @pytest.mark.parametrize("key", ["", "../x", "a/b", "a b", ".hidden"])
    def test_a_key_stays_below_the_prefix(self, place: Place, tmp_path: Path, key: str) -> None:
        with pytest.raises(StoreError, match="cannot name a build context"):
            place.store.put(tmp_path / "never", key)

    def test_a_file_that_is_not_there(self, place: Place, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="never"):
            place.store.put(tmp_path / "never", "k5")


def unique() -> str:
    return f"t{os.urandom(6).hex()}"
