"""Append to the history of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from db.announcing import TELLABLE, Happening, announce
from db.statements import insert_rows
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
    """Append one event, and open its deliveries to webhooks; all commit or vanish with what they tell about.

    ``announcing.announced`` says for how many deliveries to ring after the commit.
    """
    row = {
        "tenant": tenant,
        "job_id": job_id,
        "job_recording_id": job_recording_id,
        "pass_id": pass_id,
        "data": dict(data or {}),
    }
    record_events(session, kind, [row], actor=actor)


def record_events(session: Session, kind: str, rows: Sequence[Mapping[str, Any]], *, actor: str) -> None:
    """Append one event of a kind for each row: ``tenant``, ``job_id`` and what else it has by name of column."""
    stored = [{"id": new_id(), "kind": kind, "actor": actor, "data": {}, **row} for row in rows]
    insert_rows(session, Event, stored)
    if stored and kind in TELLABLE:
        announce(
            session,
            [Happening(row["id"], kind, row["job_id"], row.get("job_recording_id")) for row in stored],
        )
