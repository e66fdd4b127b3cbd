"""Runs and their files over HTTP, as a job's own client reports them."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import urllib3

from launch_agent.server.serve import Server
from tests.fakes.backend import Backend
from tests.fakes.clock import Clock
from tests.fakes.eventually import eventually
from tests.fakes.wire import Wire

_BUCKET = """bucket { id name displayName config sweepName historyLineCount
  project { id name entity { id name } } } inserted"""


def _upsert(wire: Wire, **given: Any) -> Any:
    return wire.mutate("upsertBucket", _BUCKET, **{"name": "aaaaaaaa", "modelName": "p", **given})


def _stream(wire: Wire, told: dict[str, Any], run: str = "aaaaaaaa") -> Any:
    answer = wire.request("POST", f"/files/team/p/{run}/file_stream", body=json.dumps(told).encode())
    assert answer.status == 200
    return answer.body


def _run(wire: Wire, fields: str, name: str = "aaaaaaaa") -> Any:
    query = f"""query($name: String!) {{
      project(name: "p", entityName: "team") {{ run(name: $name) {{ {fields} }} }} }}"""
    return wire.graphql(query, {"name": name}).data["project"]["run"]


def test_a_job_that_reports_itself_fills_the_run_that_its_item_was_claimed_for(
    wire: Wire, backend: Backend
) -> None:
    backend.create_queue("q", "local-container")
    item = backend.push("q", {"project": "p"})
    backend.pop("q")
    backend.ack(item, "aaaaaaaa")
    assert _run(wire, "state") == {"state": "pending"}
    first = _upsert(wire, config='{"lr": {"value": 1}}', displayName="nice", jobType="train")
    assert first["inserted"] is True
    assert first["bucket"]["project"]["entity"]["name"] == "team"
    second = _upsert(wire, summaryMetrics='{"loss": 2}')
    assert second["inserted"] is False
    assert second["bucket"]["id"] == first["bucket"]["id"]
    found = _run(wire, "state displayName jobType config summaryMetrics tags projectId user { username }")
    assert (found["state"], found["displayName"], found["jobType"]) == ("running", "nice", "train")
    assert json.loads(found["config"]) == {"lr": {"value": 1}}
    assert json.loads(found["summaryMetrics"]) == {"loss": 2}
    assert int(found["projectId"]) > 0
    run = wire.graphql("query($id: ID!) { runQueueItem(id: $id) { run { state } } }", {"id": item})
    assert run.data["runQueueItem"]["run"] == {"state": "running"}


def test_a_run_streams_its_lines_and_says_how_it_ended(wire: Wire) -> None:
    _upsert(wire)
    told = {
        "wandb-history.jsonl": {
            "offset": 0,
            "content": ['{"_step": 0, "loss": 2}', '{"_step": 1, "loss": 1}'],
        },
        "output.log": {
            "offset": 0,
            "content": ["2026-11-25T01:02:03.5 one", "ERROR 2026-11-25T01:02:04 two"],
        },
        "wandb-summary.json": {"offset": 0, "content": ['{"loss": 1}']},
        "unknown.txt": {"offset": 0, "content": ["x"]},
    }
    assert _stream(wire, {"files": told}) == {"exitcode": None, "limits": {}, "stopped": False}
    _stream(wire, {"files": {"output.log": {"offset": 1, "content": ["again", "three"]}}})
    found = _run(
        wire,
        """state summaryMetrics historyLineCount logLineCount history historyKeys
           sampledHistory(specs: ["{\\"keys\\": [\\"loss\\"]}"])
           logLines(first: 2) {
             edges { node { number line level timestamp } } pageInfo { hasNextPage endCursor } }
           tail: logLines(last: 1) { edges { node { line } } }""",
    )
    assert (found["state"], found["historyLineCount"], found["logLineCount"]) == ("running", 2, 3)
    assert json.loads(found["summaryMetrics"]) == {"loss": 1}
    assert [json.loads(line)["loss"] for line in found["history"]] == [2, 1]
    assert found["historyKeys"]["lastStep"] == 1
    assert [entry["loss"] for entry in found["sampledHistory"][0]] == [2, 1]
    assert found["logLines"]["edges"][0]["node"] == {
        "number": 0,
        "line": "one",
        "level": "info",
        "timestamp": "2026-11-25T01:02:03.500Z",
    }
    assert found["logLines"]["edges"][1]["node"]["line"] == "again"
    assert found["logLines"]["pageInfo"] == {"hasNextPage": True, "endCursor": "1"}
    assert found["tail"]["edges"] == [{"node": {"line": "three"}}]
    _stream(wire, {"complete": True, "exitcode": 0})
    assert _run(wire, "state exitCode") == {"state": "finished", "exitCode": 0}
    _upsert(wire, config="{}")
    assert _run(wire, "state") == {"state": "finished"}, "last words do not bring a run back"
    _stream(wire, {})
    assert _run(wire, "state exitCode") == {"state": "running", "exitCode": None}, "a heartbeat does"
    _stream(wire, {"complete": True, "exitcode": 3})
    assert _run(wire, "state exitCode") == {"state": "failed", "exitCode": 3}


@pytest.mark.parametrize(
    ("version", "code", "end"),
    [
        ("wandb@0.31.0", 0, "FINISHED"),
        ("wandb@0.31.0", 1, "FAILED"),
        ("launch-agent@0.1.0", 0, "CLAIMED"),
    ],
)
def test_an_item_of_the_official_agent_ends_with_its_run(
    wire: Wire, backend: Backend, version: str, code: int, end: str
) -> None:
    """It reports failures only; an agent of ours tells every end itself, once its container has ended."""
    backend.create_queue("q", "local-container")
    item = backend.push("q", {"project": "p"})
    queue = wire.graphql('{ project(name: "model-registry", entityName: "team") { runQueues { id } } }').data[
        "project"
    ]["runQueues"][0]["id"]
    where = {"entityName": "team", "projectName": "model-registry"}
    agent = wire.mutate(
        "createLaunchAgent", "launchAgentId", **where, runQueues=[queue], hostname="h", version=version
    )["launchAgentId"]
    wire.mutate("popFromRunQueue", "runQueueItemId", **where, queueName="q", launchAgentId=agent)
    backend.ack(item, "aaaaaaaa")
    _upsert(wire)
    _stream(wire, {"complete": True, "exitcode": code})
    found = backend.item(item)
    assert found["detailedState"] == end
    assert found["state"] in ("CLAIMED", "FAILED")


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"files": {"output.log": 3}}', b'{"files": {"output.log": {"offset": -1}}}']
)
def test_a_stream_that_is_none_is_refused(wire: Wire, body: bytes) -> None:
    assert wire.request("POST", "/files/team/p/r/file_stream", body=body).status == 400


def test_the_stop_of_a_run_reaches_its_client_by_the_stream(wire: Wire) -> None:
    run_id = _upsert(wire)["bucket"]["id"]
    assert wire.mutate("stopRun", "success clientMutationId", id=run_id)["success"]
    assert _stream(wire, {})["stopped"] is True
    assert _run(wire, "stopped") == {"stopped": True}
    assert not wire.mutate("stopRun", "success", id="run-no")["success"]


def test_a_run_that_says_nothing_for_minutes_has_crashed_until_it_speaks_again(
    wire: Wire, clock: Clock
) -> None:
    _upsert(wire)
    clock.forward(299)
    assert _run(wire, "state") == {"state": "running"}
    clock.forward(2)
    assert _run(wire, "state") == {"state": "crashed"}
    _stream(wire, {})
    assert _run(wire, "state") == {"state": "running"}


def test_an_upload_that_ends_in_the_middle_leaves_nothing(wire: Wire, server: Server, tmp_path: Path) -> None:
    given = {"projectName": "p", "runName": "r", "files": ["a.txt"]}
    url = wire.mutate("createRunFiles", "files { uploadUrl }", **given)["files"][0]["uploadUrl"]
    target = urllib3.util.parse_url(url).request_uri
    with socket.create_connection((server.host, server.port), timeout=10) as raw:
        raw.sendall(f"PUT {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc".encode())
        eventually(lambda: _files(tmp_path))
    eventually(lambda: not _files(tmp_path))
    assert wire.request("GET", target.partition("?")[0]).status == 404


def test_what_a_killed_server_left_of_an_upload_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "files" / ".incoming" / "left"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"abc")
    with Server(data_dir=tmp_path):
        assert not left.exists()


def _files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "data" / "files").rglob("*") if path.is_file()]


def test_a_run_that_never_reported_itself_is_not_there_to_resume(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")
    item = backend.push("q", {"project": "p"})
    backend.pop("q")
    backend.ack(item, "aaaaaaaa")
    query = """query RunResumeStatus($project: String, $entity: String, $name: String!) {
      model(name: $project, entityName: $entity) { id name entity { id name }
        bucket(name: $name, missingOk: true) { id name summaryMetrics displayName logLineCount
          historyLineCount eventsLineCount historyTail eventsTail config tags notes
          wandbConfig(keys: ["t"]) } } }"""
    where = {"project": "p", "entity": "team", "name": "aaaaaaaa"}
    assert wire.graphql(query, where).data["model"]["bucket"] is None
    _upsert(wire, config='{"_wandb": {"value": {"t": {"1": [2]}, "u": 3}}}')
    _stream(wire, {"files": {"wandb-history.jsonl": {"offset": 0, "content": ['{"_step": 0}']}}})
    bucket = wire.graphql(query, where).data["model"]["bucket"]
    assert json.loads(bucket["historyTail"]) == ['{"_step": 0}']
    assert json.loads(bucket["wandbConfig"]) == {"t": {"1": [2]}}
    must = wire.graphql('{ model(name: "p") { bucket(name: "no") { id } } }')
    assert "there is no run 'no'" in must.messages[0]


def test_files_are_uploaded_by_url_listed_and_fetched(wire: Wire, clock: Clock, server: Server) -> None:
    _upsert(wire)
    names = ["output.log", "rqi-1/error/error.log", "Ünï cöde?#.txt"]
    made = wire.mutate(
        "createRunFiles",
        "runID uploadHeaders files { name uploadUrl }",
        entityName="team",
        projectName="p",
        runName="aaaaaaaa",
        files=names,
    )
    assert made["uploadHeaders"] == []
    for file in made["files"]:
        assert file["uploadUrl"].startswith(server.url)
        content = file["name"].encode() * 1000
        # Official clients send no key to an upload URL.
        put = wire.request("PUT", file["uploadUrl"], body=content, with_key=False)
        assert put.status == 200
    given = {"projectName": "p", "runName": "aaaaaaaa", "files": names}
    assert wire.mutate("markRunFilesUploaded", "success", **given)["success"]
    found = _run(wire, "fileCount files { edges { node { name sizeBytes md5 directUrl mimetype } } }")
    assert found["fileCount"] == 3
    for edge in found["files"]["edges"]:
        node = edge["node"]
        content = node["name"].encode() * 1000
        assert node["sizeBytes"] == len(content)
        assert node["md5"] == hashlib.md5(content, usedforsecurity=False).hexdigest()
        got = wire.request("GET", node["directUrl"], with_key=False)
        assert got.body == content
        assert got.headers["Content-Disposition"].startswith("attachment")
        assert got.headers["X-Content-Type-Options"] == "nosniff"
    one = _run(wire, 'files(names: ["output.log", "no"]) { edges { node { name } } }')
    assert [edge["node"]["name"] for edge in one["files"]["edges"]] == ["output.log"]


def test_an_upload_url_is_good_for_its_file_its_method_and_an_hour(wire: Wire, clock: Clock) -> None:
    given = {"projectName": "p", "runName": "r", "files": ["a.txt"]}
    url = wire.mutate("createRunFiles", "files { uploadUrl }", **given)["files"][0]["uploadUrl"]
    assert wire.request("GET", url, with_key=False).status == 403
    assert wire.request("PUT", url.replace("a.txt", "b.txt"), body=b"x", with_key=False).status == 403
    assert wire.request("PUT", url[:-1], body=b"x", with_key=False).status == 403
    assert wire.request("PUT", url, body=b"one", with_key=False).status == 200
    assert wire.request("PUT", url, body=b"two", with_key=False).status == 200
    clock.forward(3601)
    assert wire.request("PUT", url, body=b"late", with_key=False).status == 403
    path = urllib3.util.parse_url(url).path
    assert path is not None
    assert wire.request("GET", path).body == b"two", "with a key, no signature is needed"
    assert wire.request("GET", path.replace("a.txt", "no.txt")).status == 404


@pytest.mark.parametrize("run_id", ["run-no", "..", "%2e%2e"])
def test_nothing_is_written_for_a_run_that_is_not_there(
    wire: Wire, server: Server, tmp_path: Path, run_id: str
) -> None:
    before = sorted((tmp_path / "data").rglob("*"))
    head = f"PUT /storage/{run_id}/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {server.api_key}\r\n"
    with socket.create_connection((server.host, server.port), timeout=10) as raw:
        raw.sendall(head.encode() + b"Content-Length: 1\r\nConnection: close\r\n\r\nx")
        answer = raw.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 404")
    assert sorted((tmp_path / "data").rglob("*")) == before


@pytest.mark.parametrize("name", ["", "../x", "a/../../x", "/etc/passwd", "x" * 513, "a\0b"])
def test_a_file_name_that_leads_elsewhere_is_refused(wire: Wire, name: str) -> None:
    query = "mutation($input: CreateRunFilesInput!) { createRunFiles(input: $input) { files { name } } }"
    answer = wire.graphql(query, {"input": {"projectName": "p", "runName": "r", "files": [name]}})
    assert "cannot be the name" in answer.messages[0]


def test_runs_are_listed_newest_first_by_page(wire: Wire, clock: Clock) -> None:
    for name in ("one", "two", "three"):
        clock.forward(1)
        _upsert(wire, name=name)
    query = """query($after: String) { project(name: "p") { internalId runCount
      runs(first: 2, after: $after, order: "-created_at", filters: "{}") {
        totalCount edges { node { name state } cursor } pageInfo { endCursor hasNextPage } } } }"""
    page = wire.graphql(query).data["project"]
    assert page["runCount"] == page["runs"]["totalCount"] == 3
    assert int(page["internalId"]) > 0
    assert [edge["node"]["name"] for edge in page["runs"]["edges"]] == ["three", "two"]
    rest = wire.graphql(query, {"after": page["runs"]["pageInfo"]["endCursor"]}).data["project"]["runs"]
    assert [edge["node"]["name"] for edge in rest["edges"]] == ["one"]
    assert rest["pageInfo"]["hasNextPage"] is False


def test_a_run_without_a_name_gets_one_and_is_edited_by_its_id(wire: Wire) -> None:
    made = _upsert(wire, name=None)["bucket"]
    assert len(made["name"]) == 8
    edited = wire.mutate(
        "upsertBucket", "bucket { name displayName } inserted", id=made["id"], displayName="x"
    )
    assert edited == {"bucket": {"name": made["name"], "displayName": "x"}, "inserted": False}
