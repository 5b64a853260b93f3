"""Tell time by the database's own clock, so that the workers' clocks do not matter for leases."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Float, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement
from sqlalchemy.sql.functions import FunctionElement

from db.types import UtcDateTime


class _DatabaseNow(FunctionElement[datetime]):
    """The present instant plus a number of seconds, evaluated in the statement, not at the transaction's start."""

    type = UtcDateTime()
    inherit_cache = True
    name = "database_now"


@compiles(_DatabaseNow, "postgresql")
def _postgresql(element: _DatabaseNow, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(clock_timestamp() + {compiler.process(element.clauses, **kw)} * interval '1 second')"


@compiles(_DatabaseNow, "sqlite")
def _sqlite(element: _DatabaseNow, compiler: SQLCompiler, **kw: Any) -> str:
    # Six digits, the form in which SQLAlchemy stores instants, so that text order is time order.
    seconds = compiler.process(element.clauses, **kw)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', printf('%+f seconds', {seconds})) || '000')"


def database_now(plus_seconds: float = 0.0) -> ColumnElement[datetime]:
    """Return an SQL expression for the database's clock, moved by ``plus_seconds``."""
    return _DatabaseNow(literal(float(plus_seconds), Float))
