"""Open the database and hand out sessions: ``write()`` commits at its end, ``read()`` never holds the write lock."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.pool import ConnectionPoolEntry

from db.tables.base import OfTenant

PATIENCE = {
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 30,  # seconds; the system's own default is two hours
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms that what was sent may stay unconfirmed; the system's own default is 15 minutes
}
"""How long a server of PostgreSQL may be silent: one whose machine vanished would hold threads for minutes."""

RESTED_SECONDS = 1.0  # a connection that was not used for so long is asked whether it still lives
BUSY_SECONDS = 15.0  # how long a writer of SQLite waits for the others


class DatabaseUnavailable(Exception):
    """The database does not answer."""

    code = "database_unavailable"
    retryable = True


class Database:
    """One process's connections to SQLite or PostgreSQL.

    On SQLite a write session begins with ``BEGIN IMMEDIATE`` (a read-then-write transaction would fail at once
    when another writer is active) and commits with ``synchronous=FULL``: what was acknowledged survives a power cut.
    Keep write sessions short and never around model, storage or decoding work.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._engine = _sqlite_engine(url, self.url.database)
        else:
            self._engine = _postgresql_engine(url)
        # A query of PostgreSQL sees what is committed when it runs: BEGIN and ROLLBACK around it would say nothing.
        level = {} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._reader = self._engine.execution_options(read_only=True, **level)
        # SQLite has one writer; the threads of a process take turns here instead of asking it again and again.
        self._one_writer = threading.RLock() if self.is_sqlite else nullcontext()

    @contextmanager
    def write(self, tenant: str | None = None) -> Iterator[Session]:
        """Yield a session whose work is committed when the block ends, and rolled back when it raises.

        With a ``tenant`` its queries, updates and deletes reach that tenant's rows and no others.
        """
        with self._one_writer, _session(self._engine, tenant) as session, session.begin():
            yield session

    @contextmanager
    def read(self, tenant: str | None = None) -> Iterator[Session]:
        """Yield a session for queries only, of one tenant's rows or of all."""
        with _session(self._reader, tenant) as session:
            yield session

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, for migrations."""
        return self._engine

    def check(self) -> None:
        """Ask the database for one row; raises ``DatabaseUnavailable`` saying which database did not answer."""
        try:
            with self._reader.connect() as connection:
                connection.execute(text("SELECT 1"))
        except OperationalError as error:
            shown = self.url.render_as_string(hide_password=True)
            raise DatabaseUnavailable(f"the database {shown} does not answer: {error.orig}") from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _session(engine: Engine, tenant: str | None) -> Session:
    return Session(engine, expire_on_commit=False, info={} if tenant is None else {"tenant": tenant})


@event.listens_for(Session, "do_orm_execute")
def _bind_to_tenant(state: ORMExecuteState) -> None:
    """Add the tenant to whatever a tenant's session reads or moves: the one place that no query can forget.

    What has to see all tenants, such as the front of a queue, says so with the option ``all_tenants``.
    """
    tenant = state.session.info.get("tenant")
    if tenant is None or state.is_insert or state.execution_options.get("all_tenants"):
        return
    only_theirs = with_loader_criteria(OfTenant, lambda cls: cls.tenant == tenant, include_aliases=True)
    state.statement = state.statement.options(only_theirs)


def _sqlite_engine(url: str, database: str | None) -> Engine:
    if database and database != ":memory:":
        # Its user's alone: it holds what was said, and the secrets that sign webhooks.
        Path(database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        pool_size=8,
        hide_parameters=True,  # errors are logged, and values may be transcripts
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={round(BUSY_SECONDS * 1000)}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get("read_only", False):
            connection.exec_driver_sql("BEGIN")
        else:
            _begin_immediate(connection)

    return engine


def _postgresql_engine(url: str) -> Engine:
    """Return an engine that asks a connection whether it lives when it has rested, and not at every use."""
    chosen = make_url(url).query  # an operator's own words count
    patience = {name: value for name, value in PATIENCE.items() if name not in chosen}
    # The pool's connections are opened as they are wanted.
    engine = create_engine(url, connect_args=patience, pool_size=32, max_overflow=8, hide_parameters=True)

    @event.listens_for(engine, "checkin")
    def _on_checkin(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, record: ConnectionPoolEntry, proxy: Any) -> None:
        rests_since = record.info.get("rests_since")
        if rests_since is None or time.monotonic() - rests_since < RESTED_SECONDS:
            return
        try:
            alive = engine.dialect.do_ping(connection)
        except engine.dialect.dbapi.Error as error:  # type: ignore[union-attr]  # psycopg is loaded
            raise DisconnectionError("the connection is gone") from error
        if not alive:
            raise DisconnectionError("the connection is gone")

    return engine


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock. SQLite's own waiting sleeps up to 100 ms at a time, ours a few: writers come often."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    end = time.monotonic() + BUSY_SECONDS
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise OperationalError("BEGIN IMMEDIATE", None, error) from error
            time.sleep(random.uniform(0.0005, 0.004))  # noqa: S311  # so that writers do not meet in step
    finally:
        driver.execute(f"PRAGMA busy_timeout={round(BUSY_SECONDS * 1000)}")
