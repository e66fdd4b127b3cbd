"""Who is let in, and how much one request may bring."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import sqlite3
from pathlib import Path

import pytest

from launch_agent.errors import ConfigError, LaunchError
from launch_agent.server.serve import Server
from launch_agent.server.state import Limits
from tests.fakes.clock import Clock
from tests.fakes.wire import Wire

_VIEWER = json.dumps({"query": "{ viewer { id entity username email flags admin } }"}).encode()


def _headers(authorization: str) -> dict[str, str]:
    return {"Authorization": authorization} if authorization else {}


@pytest.mark.parametrize("form", ["basic", "Basic", "bearer", "Bearer"])
def test_a_key_is_accepted_as_basic_and_as_bearer(server: Server, wire: Wire, form: str) -> None:
    key = server.api_key
    value = base64.b64encode(f"api:{key}".encode()).decode() if form.lower() == "basic" else key
    answer = wire.request(
        "POST", "/graphql", body=_VIEWER, headers=_headers(f"{form} {value}"), with_key=False
    )
    assert answer.data["viewer"]["entity"] == "team"
    assert answer.data["viewer"]["admin"] is True


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"api:").decode(),
        "Basic " + base64.b64encode(b"api:" + b"0" * 40).decode(),
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Bearer " + "0" * 40,
        "Digest x",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/graphql"),
        ("POST", "/files/team/p/r/file_stream"),
        ("GET", "/storage/run-1/output.log"),
        ("PUT", "/storage/run-1/output.log"),
    ],
)
def test_without_a_valid_key_the_answer_is_401_in_json(
    wire: Wire, authorization: str, method: str, path: str
) -> None:
    answer = wire.request(method, path, body=b"{}", headers=_headers(authorization), with_key=False)
    assert answer.status == 401
    assert "API key" in answer.messages[0]
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_key_is_not_in_the_database(server: Server, tmp_path: Path) -> None:
    for file in (tmp_path / "data").glob("queue.db*"):
        assert server.api_key.encode() not in file.read_bytes()
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "queue.db")) as connection:
        rows = connection.execute("SELECT digest FROM api_keys").fetchall()
    assert len(rows) == 1


def test_a_made_key_looks_like_an_official_one_and_is_made_once(tmp_path: Path) -> None:
    with Server(data_dir=tmp_path) as first:
        assert first.is_new_key
        assert len(first.api_key) == 40
        assert int(first.api_key, 16)
    with Server(data_dir=tmp_path) as second:
        assert not second.is_new_key
        assert second.api_key == ""
        wire = Wire(url=second.url, api_key=first.api_key)
        assert wire.graphql("{ viewer { id } }").status == 200
        wire.close()


def test_a_given_key_is_accepted_besides_the_earlier_ones(tmp_path: Path) -> None:
    keys = ["a" * 40, "local-" + "b" * 40]
    for key in keys:
        with Server(data_dir=tmp_path, api_key=key, entity="team"):
            pass
    with Server(data_dir=tmp_path) as server:
        for key in keys:
            wire = Wire(url=server.url, api_key=key)
            assert wire.graphql("{ viewer { entity } }").data == {"viewer": {"entity": "team"}}
            wire.close()


@pytest.mark.parametrize("key", ["short", "x" * 39, "a b" * 20])
def test_a_key_that_official_clients_would_refuse_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match="at least 40 characters"):
        Server(data_dir=tmp_path, api_key=key)


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("mysql://u@h/d", "'mysql' is not a database"),
        ("nonsense", "is not a database URL"),
        ("sqlite://", "lost with the process"),
    ],
)
def test_a_database_that_cannot_be_used_is_a_config_error(tmp_path: Path, database: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Server(data_dir=tmp_path, database=database)


def test_a_database_of_another_release_is_refused(tmp_path: Path) -> None:
    with Server(data_dir=tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / "queue.db")
    with connection:
        connection.execute("UPDATE settings SET value = '99' WHERE name = 'schema_version'")
    connection.close()
    with pytest.raises(LaunchError, match="schema version 99"):
        Server(data_dir=tmp_path)


def test_a_port_that_is_taken_is_one_clear_error(server: Server, tmp_path: Path) -> None:
    second = Server(data_dir=tmp_path / "second", port=server.port)
    with pytest.raises(LaunchError, match=f"listening on 127.0.0.1:{server.port}"):
        second.start()
    second.stop()


def test_health_needs_no_key_and_tells_nothing_else(wire: Wire) -> None:
    answer = wire.request("GET", "/healthz", with_key=False)
    assert (answer.status, answer.body) == (200, {"status": "ok"})


def test_a_database_that_fails_is_a_503_and_nothing_was_done(
    server: Server, wire: Wire, tmp_path: Path
) -> None:
    """As with a full disk: here, another process has taken the table away."""
    connection = sqlite3.connect(tmp_path / "data" / "queue.db")
    with connection:
        connection.execute("ALTER TABLE items RENAME TO elsewhere")
    where = 'entityName: "team", projectName: "model-registry", queueName: "q"'
    mutation = f"""mutation {{
      a: upsertRunQueue(input: {{{where}, resourceType: "kubernetes", resourceConfig: "{{}}"}}) {{ success }}
      b: pushToRunQueueByName(input: {{{where}, runSpec: "{{}}"}}) {{ runQueueItemId }} }}"""
    answer = wire.graphql(mutation)
    assert answer.status == 503
    assert "database failed" in answer.messages[0]
    assert wire.request("GET", "/healthz").status == 503
    with connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO items")
    connection.close()
    assert wire.graphql("{ launchQueues { id } }").data == {"launchQueues": []}
    assert wire.graphql(mutation).data["b"]["runQueueItemId"]


def test_official_clients_telemetry_is_taken_although_it_comes_without_a_key(wire: Wire) -> None:
    for signal in ("metrics", "logs"):
        path = f"/sdk/otel/v1/{signal}"
        assert wire.request("POST", path, body=b"\x0a\x00", with_key=False).status == 200


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[]", 400, "'query'"),
        (b'{"query": 3}', 400, "'query'"),
        (b'{"query": "{ viewer { id } }", "variables": []}', 400, "'variables'"),
        (b'{"query": "{ viewer { id } }", "operationName": 3}', 400, "'operationName'"),
        (b'{"query": "{ viewer { id"}', 200, "Syntax Error"),
        (b'{"query": "{ viewer { shoe } }"}', 200, "Cannot query field 'shoe' on type 'User'"),
        (b'{"query": "{ viewer { id } }", "operationName": "Nope"}', 200, "Nope"),
    ],
)
def test_a_request_that_is_none_says_why(wire: Wire, body: bytes, status: int, said: str) -> None:
    answer = wire.request("POST", "/graphql", body=body)
    assert answer.status == status
    assert said in answer.messages[0]


def test_an_empty_operation_name_is_none(wire: Wire) -> None:
    assert wire.graphql("query A { viewer { id } }", operation="").data["viewer"]


def test_a_gzip_body_is_read_and_a_bomb_is_not(tmp_path: Path, clock: Clock) -> None:
    with Server(data_dir=tmp_path, clock=clock, limits=Limits(graphql=10_000)) as server:
        wire = Wire(url=server.url, api_key=server.api_key)
        packed = {"Content-Encoding": "gzip"}
        assert wire.request("POST", "/graphql", body=gzip.compress(_VIEWER), headers=packed).data["viewer"]
        bomb = wire.request("POST", "/graphql", body=gzip.compress(b" " * 1_000_000), headers=packed)
        assert (bomb.status, bomb.messages) == (
            413,
            ["the request is larger than 10000 bytes when it is unpacked"],
        )
        assert wire.request("POST", "/graphql", body=b"x", headers=packed).status == 400
        strange = wire.request("POST", "/graphql", body=b"x", headers={"Content-Encoding": "br"})
        assert strange.status == 415
        wire.close()


def test_a_large_answer_is_packed_for_who_takes_it(wire: Wire) -> None:
    query = "{ __schema { types { name description } } }"
    answer = wire.graphql(query, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"


def test_bodies_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    limits = Limits(graphql=1000, stream=1000, upload=1000, telemetry=1000)
    with Server(data_dir=tmp_path, limits=limits, entity="team") as server:
        wire = Wire(url=server.url, api_key=server.api_key)
        files = wire.mutate(
            "createRunFiles", "files { uploadUrl }", projectName="p", runName="r", files=["f"]
        )
        for method, path in [
            ("POST", "/graphql"),
            ("POST", "/files/team/p/r/file_stream"),
            ("POST", "/sdk/otel/v1/logs"),
            ("PUT", files["files"][0]["uploadUrl"]),
        ]:
            answer = wire.request(method, path, body=b"x" * 1001)
            assert answer.status == 413, path
            assert "larger than 1000 bytes" in answer.messages[0]
        assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
        wire.close()


def _nested(depth: int) -> str:
    return "{ __schema { types " + "{ fields { type " * depth + "{ name }" + "} }" * depth + "} }"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("{ " + " ".join(f"a{n}: viewer {{ id }}" for n in range(201)) + " }", "at most 200"),
        (_nested(30), "levels deep"),
        ("{ viewer { " + "id " * 21_000 + "} }", "tokens"),
        ("{ viewer { id } } # " + "x" * 300_000, "longer than"),
        (
            "{ viewer { ...f0 } } fragment f15 on User { id } "
            + " ".join(f"fragment f{n} on User {{ ...f{n + 1} ...f{n + 1} }}" for n in range(15)),
            "fields",
        ),
        ("{ viewer { ...a } } fragment a on User { ...b } fragment b on User { ...a }", "levels deep"),
    ],
    ids=["roots", "depth", "tokens", "length", "fragments", "cycle"],
)
def test_a_document_that_would_cost_too_much_is_refused(wire: Wire, query: str, said: str) -> None:
    answer = wire.graphql(query)
    assert answer.status == 200
    assert said in answer.messages[0]


def test_a_batch_of_sixty_roots_is_answered(wire: Wire) -> None:
    query = "{ " + " ".join(f"a{n}: viewer {{ id }}" for n in range(60)) + " }"
    assert len(wire.graphql(query).data) == 60
