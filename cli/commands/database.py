"""Look after the database."""

from __future__ import annotations

import typer

from cli.terminal import say
from settings import load_settings

app = typer.Typer(help="Look after the database.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look after the database."""


@app.command()
def upgrade() -> None:
    """Bring the database to the schema of this release; safe to repeat, and from several machines at once."""
    from db.database import Database
    from db.upgrade import current_revision
    from db.upgrade import upgrade as upgrade_database

    database = Database(load_settings().resolved_database_url)
    try:
        database.check()
        before = current_revision(database)
        after = upgrade_database(database)
    finally:
        database.close()
    shown = database.url.render_as_string(hide_password=True)
    say(
        f"{shown} is at revision {after}"
        + (" already" if before == after else f", it was at {before or 'none'}")
    )
