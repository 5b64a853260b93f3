"""Declare who wants to be told what, what is on its way to them, and how each try went."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.states import DeliveryState
from db.tables.base import OfTenant, Table, created_column, id_column, one_of, tenant_column
from db.types import Id


class Webhook(OfTenant, Table):
    """An address of a tenant that is told what happens to its jobs."""

    __tablename__ = "webhooks"
    __table_args__ = (UniqueConstraint("tenant", "url"),)

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(String(128))  # signs what is sent
    old_secret: Mapped[str | None] = mapped_column(String(128))  # signs too until the rotation ends
    events: Mapped[list[str]] = mapped_column(default=list)  # kinds; empty: how jobs ended
    of_all_jobs: Mapped[bool] = mapped_column(default=True)  # else only of jobs that name it
    created_at: Mapped[datetime] = created_column()
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]  # after failing for too long, or by its owner


class WebhookDelivery(OfTenant, Table):
    """One event on its way to one webhook; the payload is as it was when the event happened."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        one_of("state", DeliveryState),
        UniqueConstraint("event_id", "webhook_id"),
        Index(None, "webhook_id", "id"),
        Index(None, "job_id"),
    )

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    event_id: Mapped[str] = mapped_column(Id)
    kind: Mapped[str] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16), default=DeliveryState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = created_column()
    finished_at: Mapped[datetime | None]


class WebhookAttempt(OfTenant, Table):
    """How one try to deliver went."""

    __tablename__ = "webhook_attempts"
    __table_args__ = (UniqueConstraint("delivery_id", "number"),)

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    delivery_id: Mapped[str] = mapped_column(ForeignKey("webhook_deliveries.id"))
    number: Mapped[int]
    status_code: Mapped[int | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    duration_ms: Mapped[int]
    at: Mapped[datetime] = created_column()
