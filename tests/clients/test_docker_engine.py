from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from launch_agent.clients import docker_engine
from launch_agent.clients.docker_engine import Engine, connect
from launch_agent.errors import RunnerError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any Docker settings."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / ".docker"))
    (tmp_path / ".docker").mkdir()
    # Without this file the SDK looks for no contexts.
    (tmp_path / ".docker/config.json").write_text("{}")
    return tmp_path


def address(host: str = "") -> str:
    return str(docker_engine._address(host)["base_url"])


def write_context(home: Path, name: str, host: str) -> None:
    """A Docker context as the docker command stores it: in a folder named by the digest of its name."""
    import hashlib

    folder = home / ".docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    endpoints = {"docker": {"Host": host, "SkipTLSVerify": False}}
    (folder / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoints}))


@pytest.mark.usefixtures("home")
def test_the_configs_host_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///other.sock")
    assert address("unix:///mine.sock").endswith("/mine.sock")


def test_docker_host_comes_before_the_context(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_context(home, "lab", "unix:///context.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "lab")
    assert address() == "unix:///context.sock"
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    assert address() == "tcp://10.0.0.1:2375"


def test_the_current_context_of_dockers_config_is_used(home: Path) -> None:
    write_context(home, "lab", "unix:///context.sock")
    (home / ".docker/config.json").write_text(json.dumps({"currentContext": "lab"}))
    assert address() == "unix:///context.sock"


@pytest.mark.usefixtures("home")
def test_a_context_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    with pytest.raises(RunnerError, match="nowhere") as caught:
        address()
    assert "docker context ls" in caught.value.hint


@pytest.mark.skipif(Path("/var/run/docker.sock").exists(), reason="the system's own engine is found first")
def test_the_rootless_socket_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    assert address() == "unix:///var/run/docker.sock"
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(home / "docker.sock"))
        assert address() == f"unix://{home}/docker.sock"


@pytest.fixture
def silent_engine(home: Path) -> Iterator[str]:
    """A socket that takes connections and never says a word."""
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(home / "silent.sock"))
        listener.listen()
        taken: list[socket.socket] = []
        ended = threading.Event()

        def take() -> None:
            while not ended.is_set():
                taken.append(listener.accept()[0])

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"unix://{home}/silent.sock"
        ended.set()
        with closing(socket.socket(socket.AF_UNIX)) as last:
            last.connect(str(home / "silent.sock"))
        thread.join()
        for connection in taken:
            connection.close()


def test_an_engine_that_says_nothing_is_given_up(silent_engine: str) -> None:
    with pytest.raises(RunnerError, match="no answer in time") as caught:
        connect(silent_engine, silence=1)
    assert caught.value.retryable


def test_no_request_is_without_a_timeout(silent_engine: str) -> None:
    """The SDK itself asks for none where it pulls."""
    engine = Engine(address=silent_engine, silence=1, version="1.41", base_url=silent_engine)
    with (
        closing(engine),
        pytest.raises(RunnerError, match="no answer in time"),
        docker_engine.speaking("pull"),
    ):
        engine.pull("image", stream=True)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("host", ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:9"])
def test_an_engine_that_is_not_there_has_a_cure(host: str) -> None:
    with pytest.raises(RunnerError, match="cannot reach the Docker engine") as caught:
        connect(host)
    assert "is the engine running?" in caught.value.hint


@pytest.mark.usefixtures("home")
def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(RunnerError, match="bogus"):
        connect("bogus")
