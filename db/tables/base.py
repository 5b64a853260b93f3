"""Give the tables what they share: names of constraints, kinds of columns, the columns that most have."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, MetaData, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.clock import database_now
from db.types import Id, Json, UtcDateTime, new_id

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(DeclarativeBase):
    """The base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads this attribute
        datetime: UtcDateTime(),
        dict[str, Any]: Json,
        list[Any]: Json,
        list[str]: Json,
    }


class OfTenant:
    """What the tables have in common whose rows belong to a tenant: see ``db.database``."""

    tenant: Mapped[str] = mapped_column(String(64))


def id_column() -> Mapped[str]:
    """Return a primary key that makes its own ids."""
    return mapped_column(Id, primary_key=True, default=new_id)


def tenant_column() -> Mapped[str]:
    """Return the column that says whose row it is."""
    return mapped_column(String(64))


def created_column() -> Mapped[datetime]:
    """Return the column that says when the row was made, by the database's clock."""
    return mapped_column(UtcDateTime, default=database_now())


def one_of(column: str, kinds: type[Any]) -> CheckConstraint:
    """Return a check that a column holds one of the values of an enum."""
    values = ", ".join(f"'{kind.value}'" for kind in kinds)
    return CheckConstraint(f"{column} IN ({values})", name=column)


def where_there(name: str, column: str, there: str | None = None) -> Index:
    """Return an index over the rows that have a value in ``column``, or else in ``there``."""
    condition = text(f"{there or column} IS NOT NULL")
    return Index(name, column, postgresql_where=condition, sqlite_where=condition)
