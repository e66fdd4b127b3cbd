"""The health server, asked over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import urllib3

from launch_agent.errors import ConfigError
from launch_agent.telemetry import health
from launch_agent.telemetry.health import HealthServer
from launch_agent.telemetry.metrics import Metrics
from tests.fakes.eventually import eventually


class Agent:
    """What the checks look at."""

    def __init__(self) -> None:
        self.now = 0.0
        self.metrics = Metrics(clock=lambda: self.now)
        self.alive = True
        self.server = HealthServer(
            "127.0.0.1", 0, self.metrics, ready=self.ready, alive=lambda: (self.alive, "alive or not")
        )

    def ready(self) -> tuple[bool, str]:
        age = self.metrics.poll_age(self.now)
        return age <= 60, f"the last good poll was {age:.0f} s ago"

    def get(self, path: str, method: str = "GET", **headers: str) -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager(retries=False, timeout=5) as pool:
            return pool.request(method, f"http://127.0.0.1:{self.server.port}{path}", headers=headers)


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = Agent()
    agent.server.start()
    yield agent
    agent.server.stop()


def test_ready_follows_the_age_of_the_last_good_poll(agent: Agent) -> None:
    assert agent.get("/readyz").status == 503
    agent.metrics.polled(0.0)
    assert agent.get("/readyz").status == 200
    agent.now = 61.0
    answer = agent.get("/readyz")
    assert (answer.status, answer.data) == (503, b"the last good poll was 61 s ago\n")
    assert agent.get("/livez").status == 200, "an agent whose backend is down must not be restarted"
    agent.metrics.polled(60.5)
    assert agent.get("/readyz?verbose").status == 200


def test_alive(agent: Agent) -> None:
    assert agent.get("/livez").status == 200
    agent.alive = False
    assert agent.get("/livez").status == 503


def test_metrics_and_nothing_else(agent: Agent) -> None:
    answer = agent.get("/metrics")
    assert answer.status == 200
    assert b"launch_agent_info" in answer.data
    assert (
        "openmetrics" in agent.get("/metrics", Accept="application/openmetrics-text").headers["Content-Type"]
    )
    for path in ("/", "/metrics/x", "/../etc/passwd", "/LIVEZ"):
        assert agent.get(path).status == 404
    head = agent.get("/livez", "HEAD")
    assert (head.status, head.data) == (200, b"")
    assert agent.get("/livez", "POST").status == 501
    assert "Python" not in answer.headers["Server"]


def test_many_ask_at_once(agent: Agent) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(agent.get("/metrics").status)) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == [200] * 16


def test_silent_connections_cannot_shut_others_out(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_REQUEST_SECONDS", 0.1)
    with ExitStack() as stack:
        for _ in range(40):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", agent.server.port), 5))
            silent.sendall(b"GET /livez HTTP/1.1\r\nX: ")

        def answered() -> bool:
            try:
                return agent.get("/livez").status == 200
            except urllib3.exceptions.HTTPError:
                return False

        eventually(answered, what="an answer beside forty silent connections")


def test_a_check_with_a_bug_ends_one_request_only(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> tuple[bool, str]:
        raise RuntimeError("a bug")

    server = HealthServer("127.0.0.1", 0, agent.metrics, ready=broken)
    server.start()
    try:
        with urllib3.PoolManager(retries=False, timeout=5) as pool:
            with pytest.raises(urllib3.exceptions.HTTPError):
                pool.request("GET", f"http://127.0.0.1:{server.port}/readyz")
            assert pool.request("GET", f"http://127.0.0.1:{server.port}/livez").status == 200
    finally:
        server.stop()
    assert "a bug" in caplog.text


def test_a_port_that_is_taken_is_one_clear_error(agent: Agent) -> None:
    second = HealthServer("127.0.0.1", agent.server.port, agent.metrics, ready=agent.ready)
    with pytest.raises(ConfigError) as raised:
        second.start()
    assert raised.value.path == "metrics.port"
    assert str(agent.server.port) in raised.value.message
    second.stop()


def test_after_stop_nobody_listens(agent: Agent) -> None:
    port = agent.server.port
    assert port
    agent.server.stop()
    agent.server.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5).close()
    assert not [thread for thread in threading.enumerate() if thread.name == "health"]
