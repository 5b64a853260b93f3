"""Bring a database to the schema of this release, and say how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from db.database import Database
from db.views import view_definitions

_UPGRADE_LOCK = 0x0EA41  # any fixed number: two processes that upgrade at once take turns


class SchemaOutdated(Exception):
    """The database has not been upgraded to this release."""

    code = "schema_outdated"
    retryable = False


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def newest_revision() -> str:
    """Return the revision that this release's code expects."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the package holds no migrations")
    return revision


def current_revision(database: Database) -> str | None:
    """Return the revision that the database is at, None for an empty one."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database) -> str:
    """Apply the missing migrations and return the revision reached. Safe to run from several processes at once."""
    with database.engine.connect() as connection:
        if database.is_sqlite:
            with _foreign_keys_off(connection):
                _migrate(connection)
        else:
            with connection.begin():
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
                _migrate(connection)
    return newest_revision()


@contextmanager
def _foreign_keys_off(connection: Connection) -> Iterator[None]:
    """Let migrations copy tables: SQLite would take what refers to a dropped one for broken."""
    bare = connection.connection.dbapi_connection
    assert bare is not None  # it has just been taken from the pool
    cursor = bare.cursor()
    cursor.execute("PRAGMA foreign_keys=OFF")  # counts outside a transaction only, so not by SQLAlchemy
    try:
        yield
        broken = cursor.execute("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise RuntimeError(
                f"the upgrade left {len(broken)} rows that refer to nothing, first {broken[0]}"
            )
    finally:
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()


def _migrate(connection: Connection) -> None:
    if MigrationContext.configure(connection).get_current_revision() == newest_revision():
        return
    # Views show tables as they are at the newest revision: they make room for the migrations and are made anew.
    definitions = view_definitions(connection.dialect.name)
    for name in reversed(definitions):
        connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    for name, select in definitions.items():
        connection.execute(text(f"CREATE VIEW {name} AS {select}"))
    if connection.dialect.name == "sqlite":
        connection.commit()


def check_schema(database: Database) -> None:
    """Raise ``SchemaOutdated`` with the command to run when the database is not at this release's revision."""
    found, wanted = current_revision(database), newest_revision()
    if found != wanted:
        raise SchemaOutdated(
            f"the database is at revision {found or 'none'}, this release needs {wanted}: run `earwitness db upgrade`"
        )
