"""Run the two statement forms that guards are made of: a counted update, and an insert that yields to what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Update, insert, literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.tables import Table


def count_moved(session: Session, statement: Update | Delete) -> int:
    """Execute a guarded write and return how many rows it moved; 0 is an answer, not an error."""
    result = cast(
        "CursorResult[Any]", session.execute(statement.execution_options(synchronize_session=False))
    )
    return result.rowcount


def insert_of(session: Session, table: type[Table]) -> sqlite.Insert | postgresql.Insert:
    """Return the INSERT of the session's own database, which knows ON CONFLICT."""
    return sqlite.insert(table) if session.get_bind().dialect.name == "sqlite" else postgresql.insert(table)


def insert_missing(session: Session, table: type[Table], row: Mapping[str, Any]) -> bool:
    """Insert ``row`` unless a unique key is taken; return whether it was inserted. Never raises on a conflict."""
    # RETURNING tells whether a row went in; the row count of such an insert differs between the drivers.
    statement = insert_of(session, table).values(**row).on_conflict_do_nothing().returning(literal(1))
    return session.execute(statement).first() is not None


def insert_all_missing(session: Session, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose unique keys are not taken; an empty sequence is fine."""
    if rows:
        session.execute(insert_of(session, table).on_conflict_do_nothing(), list(rows))


def insert_rows(session: Session, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert many rows in pages; an empty sequence is fine."""
    for first in range(0, len(rows), 2_000):
        session.execute(insert(table), list(rows[first : first + 2_000]))
