"""Declare whose work it is: tenants, their keys, and the answers that were given to their idempotency keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Float, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import OfTenant, Table, created_column, id_column, tenant_column
from db.types import Id


class Tenant(Table):
    """Who work is done for, and its share of the workers."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    weight: Mapped[float] = mapped_column(Float, default=1.0)  # its share of the workers, beside the others'
    max_queued: Mapped[int | None]  # recordings that may wait; none: the service's limit
    created_at: Mapped[datetime] = created_column()


class ApiKey(OfTenant, Table):
    """A key of a tenant; only a keyed hash of it is stored."""

    __tablename__ = "api_keys"

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    name: Mapped[str] = mapped_column(String(128))
    prefix: Mapped[str] = mapped_column(String(16), unique=True)  # to find and to name it
    hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = created_column()
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class IdempotencyKey(OfTenant, Table):
    """The first answer to a request with an idempotency key, given again to each that repeats it."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]  # none while the first request runs
    body: Mapped[dict[str, Any] | None]
    job_id: Mapped[str | None] = mapped_column(Id)
    created_at: Mapped[datetime] = created_column()
