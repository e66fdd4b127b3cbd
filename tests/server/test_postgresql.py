"""The same promises on PostgreSQL, with two servers that share one database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launch_agent.errors import LaunchError
from launch_agent.server.serve import Server
from tests.fakes.backend import PROJECT, Backend
from tests.fakes.eventually import eventually
from tests.fakes.postgresql import find_binaries, postgresql
from tests.fakes.wire import Wire


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    with postgresql(binaries) as url:
        yield url


@pytest.fixture
def pair(database: str, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    key = "c" * 40
    with (
        Server(data_dir=tmp_path / "a", database=database, entity="team", api_key=key) as one,
        Server(data_dir=tmp_path / "b", database=database, entity="team", api_key=key) as two,
    ):
        yield one, two


def _backend(server: Server) -> Backend:
    return Backend(url=server.url, api_key=server.api_key, entity="team")


def test_an_item_goes_its_way_through_two_servers(pair: tuple[Server, Server]) -> None:
    one, two = _backend(pair[0]), _backend(pair[1])
    one.create_queue("way", "kubernetes", {"n": "{{n}}"}, variables={"n": {"schema": {"default": 3}}})
    item = one.push("way", {"project": "p"})
    popped = two.pop("way")
    assert popped is not None
    assert popped[0] == item
    assert popped[1]["resource_args"] == {"kubernetes": {"n": 3}}
    one.ack(item, "aaaaaaaa")
    two.ack(item, "aaaaaaaa")
    two.stop_item(item)
    run = one.run("p", "aaaaaaaa")
    assert run is not None
    assert run["stopped"] is True
    one.finish(item, "stopped")
    assert two.item(item)["detailedState"] == "STOPPED"


@pytest.mark.req("QUEUE-4")
def test_two_servers_never_hand_out_an_item_twice(pair: tuple[Server, Server]) -> None:
    backends = [_backend(server) for server in pair]
    backends[0].create_queue("many", "kubernetes", prioritised=True)
    pushed = {backends[n % 2].push("many", {"project": "p"}) for n in range(60)}

    def drain(number: int) -> list[str]:
        mine = []
        while (popped := backends[number % 2].pop("many")) is not None:
            mine.append(popped[0])
        return mine

    with ThreadPoolExecutor(6) as pool:
        got = [item for mine in pool.map(drain, range(6)) for item in mine]
    assert len(got) == 60
    assert set(got) == pushed


def test_a_push_at_one_server_ends_the_wait_at_the_other(pair: tuple[Server, Server]) -> None:
    one, two = pair
    _backend(one).create_queue("wait", "kubernetes")
    wire = Wire(url=two.url, api_key=two.api_key)
    query = f"""mutation {{ popFromRunQueue(input: {{entityName: "team", projectName: "{PROJECT}",
      queueName: "wait"}}) {{ runQueueItemId }} }}"""
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(wire.graphql, query, headers={"Prefer": "wait=30"}, timeout=60)
        eventually(lambda: two.held_requests == 1)
        item = _backend(one).push("wait", {"project": "p"})
        assert polled.result(20).data["popFromRunQueue"] == {"runQueueItemId": item}
    wire.close()


def test_a_database_that_is_not_there_is_one_clear_error_without_the_password(tmp_path: Path) -> None:
    url = f"postgresql://me:hunter2@/none?host={tmp_path}"
    with pytest.raises(LaunchError, match="opening the database") as raised:
        Server(data_dir=tmp_path / "data", database=url)
    assert "hunter2" not in str(raised.value)
