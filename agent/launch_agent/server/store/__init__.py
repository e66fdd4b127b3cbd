"""The database of the server: how it is opened, and one unit of work per request.

SQLite runs in WAL mode with `synchronous=FULL`: an answer is sent after the commit has reached the disk, so
`kill -9` and loss of power lose nothing that was accepted. One process has one writer at a time (a lock of
ours, since SQLite's own waiting sleeps up to 100 ms between two tries); readers never wait for it. PostgreSQL
needs no such lock: there the pop skips rows that another server has locked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from launch_agent.errors import ConfigError, LaunchError
from launch_agent.server.store import tables

Clock = Callable[[], float]

_BUSY_TIMEOUT_MS = 10_000


class Store:
    """An open database. Threads may share it; `close` gives its connections back."""

    def __init__(self, url: str, *, clock: Clock = time.time) -> None:
        """Open `url` (`sqlite:///FILE` or `postgresql://…`), and make the tables where there are none.

        Raises ConfigError for a URL that is none of the two, LaunchError where the database cannot be used.
        """
        self.clock = clock
        self.engine = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writer: AbstractContextManager[Any] = threading.Lock() if self.is_sqlite else nullcontext()
        with ExitStack() as on_failure:
            on_failure.callback(self.engine.dispose)
            try:
                self._prepare()
            except OperationalError as error:
                place = self.engine.url.render_as_string(hide_password=True)
                raise LaunchError(
                    f"opening the database {place}: {error.orig}",
                    hint="the folder must exist and be writable; a PostgreSQL server must be reachable",
                ) from error
            on_failure.pop_all()

    def _prepare(self) -> None:
        with self.writing() as connection:
            tables.metadata.create_all(connection)
            version = get_setting(connection, "schema_version")
            if version is None:
                set_setting(connection, "schema_version", str(tables.SCHEMA_VERSION))
            elif int(version) != tables.SCHEMA_VERSION:
                raise LaunchError(
                    f"the database has schema version {version}, this server needs {tables.SCHEMA_VERSION}",
                    hint="run the launch-agent release that wrote the database, or start with a new one",
                )

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for reads; what it sees is one moment."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writer(self) -> Iterator[Connection]:
        """A transaction that may write; undone when the block is left, unless it was committed."""
        with self._writer, self.engine.connect() as plain:
            connection = plain.execution_options(launch_write=True)
            connection.begin()
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed, and on disk, when the block is left without an error."""
        with self.writer() as connection:
            yield connection
            connection.commit()

    def close(self) -> None:
        self.engine.dispose()


class Unit:
    """What one request does to the store: reads at once, writes together.

    The first write opens the transaction and every write gets a savepoint in it, so one that fails is undone
    alone. `commit` ends the transaction; what is not committed is undone by `close`. Not for several threads.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._stack = ExitStack()
        self._connection: Connection | None = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees what this unit has written."""
        if self._connection is not None:
            yield self._connection
            return
        with self.store.reading() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The unit's transaction; what the block does is undone where the block raises."""
        if self._connection is None:
            self._connection = self._stack.enter_context(self.store.writer())
        with self._connection.begin_nested():
            yield self._connection

    def commit(self) -> None:
        if self._connection is not None:
            self._connection.commit()
        self.close()

    def close(self) -> None:
        self._connection = None
        self._stack.close()


def get_setting(connection: Connection, name: str) -> str | None:
    """A value that lives as long as the database does."""
    found: str | None = connection.scalar(
        sa.select(tables.settings.c.value).where(tables.settings.c.name == name)
    )
    return found


def set_setting(connection: Connection, name: str, value: str) -> None:
    connection.execute(sa.insert(tables.settings).values(name=name, value=value))


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise ConfigError(
                f"{parsed.get_backend_name()!r} is not a database that the server can use",
                path="database",
                hint="sqlite:///FILE or postgresql://USER@HOST/NAME",
            )
        if parsed.get_backend_name() == "postgresql":
            return sa.create_engine(parsed, pool_size=20, max_overflow=20, pool_pre_ping=True)
        return _sqlite_engine(parsed)
    except ArgumentError as error:
        raise ConfigError(
            f"{url!r} is not a database URL",
            path="database",
            hint="sqlite:///FILE or postgresql://USER@HOST/NAME",
        ) from error
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            "PostgreSQL needs a driver that is not installed",
            path="database",
            hint="pip install 'launch-agent[postgresql]'",
        ) from error


def _sqlite_engine(url: sa.URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError(
            "the database must be a file: one in memory is lost with the process",
            path="database",
            hint="sqlite:////var/lib/launch-agent/queue.db",
        )
    engine = sa.create_engine(url, pool_size=40, max_overflow=40, connect_args={"check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _connected(raw: Any, _record: Any) -> None:
        # The driver's own BEGIN comes late (at the first write): we send it ourselves, below.
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _began(connection: Connection) -> None:
        # IMMEDIATE takes the write lock first: a transaction that reads and then writes can then not meet a
        # snapshot that is out of date (SQLITE_BUSY_SNAPSHOT, which no waiting cures).
        is_write = connection.get_execution_options().get("launch_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine
