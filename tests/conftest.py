"""Offer every test the same fixtures: fresh databases of both kinds, servers from wheels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.databases import PostgresServer, sqlite_template
from support.servers import RedisServer

from db.database import Database


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the session."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis server for the session."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An upgraded SQLite file to copy."""
    return sqlite_template(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture
def sqlite_database(sqlite_file: Path, tmp_path: Path) -> Iterator[Database]:
    """A fresh SQLite database."""
    path = tmp_path / "earwitness.db"
    shutil.copy(sqlite_file, path)
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[Database]:
    """A fresh PostgreSQL database."""
    with postgres.fresh() as name:
        database = Database(postgres.sqlalchemy_url(name))
        yield database
        database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """A fresh database of each kind: the conformance suite runs on both."""
    kind = "sqlite_database" if request.param == "sqlite" else "postgres_database"
    found = request.getfixturevalue(kind)
    assert isinstance(found, Database)
    return found
