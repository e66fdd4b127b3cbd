"""A queue server as an object: opened, served by uvicorn in a thread of its own, stopped.

    with Server(data_dir=folder) as server:
        ... server.url, server.api_key ...

Used by `launch-agent server`, the demo and the tests alike.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from launch_agent.errors import ConfigError, LaunchError
from launch_agent.server.app import create_app
from launch_agent.server.auth import Keyring
from launch_agent.server.filestore import FileStore
from launch_agent.server.state import Limits, State
from launch_agent.server.store import Store, get_setting, keys, set_setting
from launch_agent.server.store.ids import new_api_key

# Agents may take this long from a pop to its ack; official clients count on about a minute.
LEASE_SECONDS = 60.0
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LEAST_KEY = 40


class Server:
    """The embedded queue server.

    `data_dir` holds uploaded files and, where `database` is empty, the SQLite database. `port` 0 takes a free
    one. `api_key` is accepted besides the keys that the database knows; where neither it nor the database has
    one, a key is made: `api_key` tells it, and `is_new_key` that nobody has seen it. `clock` gives seconds
    since 1970; leases and heartbeats go by it.

    Raises ConfigError for a key or URL that cannot be used, LaunchError for a port or database that cannot.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        database: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        entity: str = "launch",
        api_key: str = "",
        lease_seconds: float = LEASE_SECONDS,
        public_url: str = "",
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if api_key and (len(api_key) < _LEAST_KEY or not api_key.isprintable() or " " in api_key):
            raise ConfigError(
                f"the API key must be at least {_LEAST_KEY} characters without spaces",
                path="api-key",
                hint="40 random hexadecimal digits: python -c 'import secrets; print(secrets.token_hex(20))'",
            )
        _make_folder(data_dir)
        self.host = host
        self.port = port
        self.entity = entity
        self.api_key = api_key
        self.is_new_key = False
        self.store = Store(database or f"sqlite:///{data_dir.absolute() / 'queue.db'}", clock=clock)
        files = FileStore(data_dir / "files", self._prepare_keys(), clock=clock)
        files.open()
        self._state = State(
            store=self.store,
            files=files,
            keyring=Keyring(self.store),
            lease_seconds=lease_seconds,
            public_url=public_url.rstrip("/"),
            limits=limits or Limits(),
        )
        self._uvicorn: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def _prepare_keys(self) -> bytes:
        """Make sure that there is an API key; returns the secret that signs the URLs of files."""
        with self.store.writing() as connection:
            known = keys.first_viewer(connection)
            if not self.api_key and known is None:
                self.api_key, self.is_new_key = new_api_key(), True
            if self.api_key:
                keys.add_key(
                    connection,
                    self.api_key,
                    username="admin",
                    entity=self.entity,
                    now=self.store.clock(),
                )
            secret = get_setting(connection, "url_secret")
            if secret is None:
                secret = secrets.token_hex(32)
                set_setting(connection, "url_secret", secret)
        return bytes.fromhex(secret)

    @property
    def url(self) -> str:
        """The server's address, without a final slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def held_requests(self) -> int:
        """How many long polls wait at present."""
        return self._state.hub.waits

    def start(self) -> None:
        """Listen, and serve in a thread; returns when requests are answered."""
        listener = self._listen()
        self._uvicorn = uvicorn.Server(self._config())
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [listener]}, name="queue-server", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._uvicorn.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise LaunchError("the queue server did not start; its log says why")
            time.sleep(0.005)

    def stop(self) -> None:
        """End held requests, wait for running ones, close the database. Stopping twice is harmless."""
        if self._uvicorn is not None and self._thread is not None:
            self._uvicorn.should_exit = True
            self._state.hub.close()
            self._thread.join(_STOP_SECONDS)
            if self._thread.is_alive():
                self._uvicorn.force_exit = True
                self._thread.join(_STOP_SECONDS)
            self._uvicorn = self._thread = None
        self.store.close()

    def serve(self, on_start: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM; `on_start` is called when requests are answered.

        To be called in the main thread. Raises LaunchError where the server ends by itself.
        """
        ended = threading.Event()
        before = {
            number: signal.signal(number, lambda *_: ended.set())
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            with self:
                on_start()
                while not ended.wait(1.0):
                    if self._thread is None or not self._thread.is_alive():
                        raise LaunchError("the queue server ended by itself; its log says why")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # The protocol is named because asyncio turns Nagle's algorithm off only where it is: without that,
        # each answer waits 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(512)
        except OSError as error:
            listener.close()
            raise LaunchError(
                f"listening on {self.host}:{self.port}: {error.strerror or error}",
                hint="choose another --port, or end the program that uses this one",
            ) from error
        self.port = listener.getsockname()[1]
        return listener

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            create_app(self._state),
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=3,
        )


def _make_folder(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LaunchError(
            f"making the data folder {data_dir}: {error.strerror or error}", hint="choose another --data-dir"
        ) from error
    if not os.access(data_dir, os.W_OK):
        raise LaunchError(f"the data folder {data_dir} is not writable", hint="choose another --data-dir")
