"""Append to the history of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from db.tables import Event
from db.types import new_id


def record_event(
    session: Session,
    kind: str,
    *,
    tenant: str,
    job_id: str,
    actor: str,
    job_recording_id: str | None = None,
    pass_id: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Append one event; it commits or vanishes with the transaction that it tells about."""
    row = {
        "id": new_id(),
        "tenant": tenant,
        "job_id": job_id,
        "job_recording_id": job_recording_id,
        "pass_id": pass_id,
        "kind": kind,
        "actor": actor,
        "data": dict(data or {}),
    }
    session.execute(insert(Event).values(**row))
