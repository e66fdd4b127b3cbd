"""The HTTP client against a real socket that misbehaves in every way that networks have been seen to."""

from __future__ import annotations

import gzip
import itertools
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import pytest

from launch_agent.clients.http import HttpClient, HttpSettings, NoAnswer, Response, Retry, parse_retry_after
from launch_agent.errors import ConfigError
from tests.fakes import fault_proxy
from tests.fakes.eventually import eventually
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.loopback import Loopback, Reply, Request

PATIENT = Retry(attempts=5, budget=60.0)


class Time:
    """A clock that moves when somebody sleeps; remembers the pauses."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def world() -> Iterator[FaultProxy]:
    def answer(request: Request) -> Reply:
        return Reply.of({"path": request.path, "body": request.body.decode()})

    with Loopback(answer) as backend, FaultProxy(backend.url) as proxy:
        assert isinstance(proxy, FaultProxy)
        yield proxy


@pytest.fixture
def time_() -> Time:
    return Time()


@pytest.fixture
def client(time_: Time) -> Iterator[HttpClient]:
    made = HttpClient(
        HttpSettings(connect_timeout=5.0, read_timeout=5.0),
        clock=time_,
        sleep=time_.sleep,
        jitter=lambda: 1.0,
    )
    yield made
    made.close()


def test_an_answer_comes_back_whole(world: FaultProxy, client: HttpClient) -> None:
    answer = client.request("POST", f"{world.url}/x", body=b"hello")
    assert (answer.status, answer.json()) == (200, {"path": "/x", "body": "hello"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.attempts == 1


def test_connections_are_reused(client: HttpClient) -> None:
    ports: set[int] = set()
    with Loopback(lambda _: Reply.of(1)) as server:
        for _ in range(3):
            client.request("GET", server.url)
            ports |= {connection.getpeername()[1] for connection in server._connections}
    assert len(ports) == 1


def test_gzip_is_understood(client: HttpClient) -> None:
    body = gzip.compress(b'{"a": 1}')
    with Loopback(lambda _: Reply(headers={"Content-Encoding": "gzip"}, body=body)) as server:
        assert client.request("GET", server.url).json() == {"a": 1}


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_transient_statuses_are_retried(
    world: FaultProxy, client: HttpClient, time_: Time, code: int
) -> None:
    world.next(fault_proxy.status(code), fault_proxy.status(code))
    answer = client.request("GET", f"{world.url}/", retry=PATIENT)
    assert (answer.status, answer.attempts) == (200, 3)
    assert time_.pauses == [0.25, 0.5]


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 413, 501])
def test_other_statuses_are_answers(world: FaultProxy, client: HttpClient, code: int) -> None:
    world.always(fault_proxy.status(code))
    assert client.request("GET", f"{world.url}/", retry=PATIENT).status == code
    assert len(world.requests) == 1


def test_the_last_transient_answer_is_returned(world: FaultProxy, client: HttpClient) -> None:
    world.always(fault_proxy.status(503, body=b"down  for\nrepair"))
    answer = client.request("GET", f"{world.url}/", retry=PATIENT)
    assert (answer.status, answer.attempts, answer.excerpt()) == (503, 5, "down for repair")


def test_retry_after_is_waited_for(world: FaultProxy, client: HttpClient, time_: Time) -> None:
    world.next(fault_proxy.status(429, retry_after="7"))
    assert client.request("GET", f"{world.url}/", retry=PATIENT).status == 200
    assert time_.pauses == [7.0]


def test_a_retry_after_beyond_the_budget_ends_the_attempts(
    world: FaultProxy, client: HttpClient, time_: Time
) -> None:
    world.next(fault_proxy.status(429, retry_after="100"))
    answer = client.request("GET", f"{world.url}/", retry=PATIENT)
    assert (answer.status, answer.retry_after(0.0)) == (429, 100.0)
    assert time_.pauses == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-4", 0.0),
        ("99999", 300.0),
        ("nan", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        (formatdate(1_000_020.0, usegmt=True), 20.0),
        (formatdate(999_000.0, usegmt=True), 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float) -> None:
    assert parse_retry_after(value, now=1_000_000.0) == seconds


def test_the_pause_is_jittered_and_capped(world: FaultProxy, time_: Time) -> None:
    world.always(fault_proxy.status(500))
    jitter = itertools.cycle([0.0, 0.5])
    client = HttpClient(HttpSettings(), clock=time_, sleep=time_.sleep, jitter=lambda: next(jitter))
    client.request("GET", world.url, retry=Retry(attempts=6, budget=99, base=1.0, cap=4.0))
    assert time_.pauses == [0.0, 1.0, 0.0, 2.0, 0.0]
    client.close()


def test_an_hour_of_outage_costs_nothing_but_time(world: FaultProxy, client: HttpClient, time_: Time) -> None:
    world.always(fault_proxy.cut(reach_backend=False))
    start = time_.now

    def heal_after_an_hour(seconds: float) -> None:
        time_.sleep(seconds)
        if time_.now - start > 3600:
            world.heal()

    client._sleep = heal_after_an_hour
    answer = client.request("GET", f"{world.url}/", retry=Retry(attempts=9999, budget=9999, cap=60.0))
    assert answer.status == 200
    assert 3600 < time_.now - start < 3700


@pytest.mark.parametrize("after", [0, 5, 60, -1])
def test_a_connection_that_breaks_is_no_answer(world: FaultProxy, client: HttpClient, after: int) -> None:
    world.next(fault_proxy.cut(after=after))
    with pytest.raises(NoAnswer) as caught:
        client.request("GET", f"{world.url}/some/path")
    assert caught.value.sent
    assert client.request("GET", f"{world.url}/").status == 200


def test_a_server_that_says_nothing_times_out(world: FaultProxy) -> None:
    world.next(fault_proxy.stall(world.closing))
    client = HttpClient(HttpSettings(read_timeout=0.2))
    with pytest.raises(NoAnswer, match="did not answer in time") as caught:
        client.request("GET", world.url)
    assert caught.value.sent
    client.close()


def test_a_server_that_drips_is_given_up(world: FaultProxy) -> None:
    """Each byte starts the read timeout anew; the whole answer has a deadline all the same."""
    world.next(fault_proxy.drip(world.closing))
    client = HttpClient(HttpSettings(connect_timeout=0.1, read_timeout=0.2))
    with pytest.raises(NoAnswer, match="too slowly"):
        client.request("GET", world.url)
    client.close()


def test_a_refused_connection_was_not_sent(world: FaultProxy, client: HttpClient, time_: Time) -> None:
    world.refuse()
    with pytest.raises(NoAnswer, match="Connection refused") as caught:
        client.request("GET", world.url, retry=PATIENT)
    assert not caught.value.sent
    assert len(time_.pauses) == 4


def test_what_may_have_been_sent_is_not_repeated_where_that_matters(
    world: FaultProxy, client: HttpClient
) -> None:
    careful = Retry(attempts=5, budget=60, unsent_only=True)
    world.next(fault_proxy.lost)
    with pytest.raises(NoAnswer):
        client.request("POST", f"{world.url}/pop", retry=careful)
    world.next(fault_proxy.status(503))
    assert client.request("POST", f"{world.url}/pop", retry=careful).status == 503
    assert world.operations() == ["POST /pop", "POST /pop"]


def test_a_refused_connection_is_tried_again_even_then(
    world: FaultProxy, client: HttpClient, time_: Time
) -> None:
    world.refuse()

    def come_back(seconds: float) -> None:
        time_.sleep(seconds)
        world.listen()

    client._sleep = come_back
    careful = Retry(attempts=2, budget=60, unsent_only=True)
    assert client.request("POST", f"{world.url}/pop", retry=careful).status == 200


@pytest.mark.parametrize("hold", [0.0, 30.0])
def test_close_ends_a_request_that_waits_in_another_thread(world: FaultProxy, hold: float) -> None:
    world.always(fault_proxy.stall(world.closing))
    client = HttpClient(HttpSettings())
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.request, "POST", world.url, hold=hold)
        eventually(lambda: world.requests, what="the request arrives")
        began = time.monotonic()
        client.close()
        with pytest.raises(NoAnswer, match="closed"):
            waiting.result(timeout=5)
        assert time.monotonic() - began < 2.0
    with pytest.raises(NoAnswer, match="closed"):
        client.request("GET", world.url)


def test_close_ends_a_pause_between_attempts(world: FaultProxy) -> None:
    world.always(fault_proxy.status(503, retry_after="60"))
    client = HttpClient(HttpSettings())
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.request, "GET", world.url, retry=Retry(attempts=9, budget=999))
        eventually(lambda: world.requests, what="the request arrives")
        client.close()
        with pytest.raises(NoAnswer, match="closed"):
            waiting.result(timeout=5)


def test_release_lets_go_of_idle_connections_only(world: FaultProxy, client: HttpClient) -> None:
    client.request("GET", world.url)
    eventually(lambda: world._connections)
    client.release()
    eventually(lambda: not world._connections)
    assert client.request("GET", world.url).status == 200


def test_many_threads_share_a_client(world: FaultProxy, client: HttpClient) -> None:
    def ask(number: int) -> int:
        return int(client.request("POST", world.url, body=str(number).encode()).json()["body"])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(64))) == list(range(64))


def test_a_proxy_is_used_and_its_password_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with Loopback(lambda request: Reply.of({"asked": request.path})) as proxy:
        environment = {"HTTP_PROXY": f"http://me:hunter2@127.0.0.1:{proxy.port}"}
        settings = HttpSettings(environment=environment)
        client = HttpClient(settings)
        with caplog.at_level(logging.DEBUG):
            answer = client.request("GET", "http://queue.example/graphql")
        assert answer.json() == {"asked": "http://queue.example/graphql"}
        assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")
        client.close()
        proxy.refuse()
        other = HttpClient(settings)
        with pytest.raises(NoAnswer, match=f"the proxy failed: 127.0.0.1:{proxy.port}") as caught:
            other.request("GET", "http://queue.example/graphql")
        other.close()
    assert "hunter2" not in caplog.text + repr(settings) + str(caught.value)


def test_a_ca_bundle_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    for make in (lambda: None, lambda: wrong.write_text("no certificate")):
        make()
        client = HttpClient(HttpSettings(environment={"SSL_CERT_FILE": str(wrong)}))
        with pytest.raises(ConfigError, match=r"cannot read the CA bundle .*ca\.pem"):
            client.request("GET", "https://127.0.0.1:1/")


@pytest.mark.parametrize("url", ["http://", "http://[::1", "ftp://x", "localhost:8080"])
def test_an_address_that_is_none(client: HttpClient, url: str) -> None:
    with pytest.raises(NoAnswer, match="is not an address") as caught:
        client.request("GET", url)
    assert not caught.value.sent


def test_a_name_that_nobody_knows(client: HttpClient) -> None:
    with pytest.raises(NoAnswer, match=r"queue\.invalid") as caught:
        client.request("GET", "http://queue.invalid/")
    assert not caught.value.sent


def test_a_plain_server_behind_https_is_a_tls_error(world: FaultProxy, client: HttpClient) -> None:
    with pytest.raises(NoAnswer, match="no trusted connection"):
        client.request("GET", world.url.replace("http:", "https:"))


def test_a_body_that_is_nested_too_deeply_is_no_json() -> None:
    body = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(ValueError, match="too deeply"):
        Response(status=200, headers={}, body=body).json()
