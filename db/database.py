"""Open the database and hand out sessions: ``write()`` commits at its end, ``read()`` never holds the write lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session


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
            self._engine = create_engine(
                url, pool_size=8, max_overflow=24, pool_pre_ping=True, hide_parameters=True
            )
        self._reader = self._engine.execution_options(read_only=True)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session whose work is committed when the block ends, and rolled back when it raises."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session for queries only."""
        with Session(self._reader, expire_on_commit=False) as session:
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


def _sqlite_engine(url: str, database: str | None) -> Engine:
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        connect_args={"timeout": 15.0, "check_same_thread": False},
        pool_size=8,
        hide_parameters=True,  # errors are logged, and values may be transcripts
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=15000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
