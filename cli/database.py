"""Open the database of the settings for commands that work on it directly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.service import prepare_database
from settings import Settings

if TYPE_CHECKING:
    from db.database import Database


@contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    """Yield the database, an embedded one brought up to date; raises ``DatabaseUnavailable`` and ``SchemaOutdated``."""
    from db.database import Database

    prepare_database(settings)
    database = Database(settings.resolved_database_url)
    try:
        yield database
    finally:
        database.close()
