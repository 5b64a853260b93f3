"""Open what tells webhooks of an event, in the event's own transaction: for each a delivery and a ready pass.

The payload is put together here, once: a receiver reads how things stood when it happened, however late it comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, or_, select
from sqlalchemy.orm import Session

from db.fairness import insert_ready
from db.states import PassKind
from db.tables import Event, Job, JobRecording, Webhook, WebhookDelivery
from db.types import new_id

JOB_ENDS = ("job.succeeded", "job.partial", "job.failed", "job.cancelled")
"""What a webhook is told that does not say what it wants."""

TELLABLE = (*JOB_ENDS, "job.accepted", "recording.succeeded", "recording.partial", "recording.failed")
"""The kinds of events that webhooks can ask for."""

_ANNOUNCED = "announced"  # the key in ``Session.info``


@dataclass(frozen=True)
class Happening:
    """An event that was just stored."""

    event_id: str
    kind: str
    job_id: str
    job_recording_id: str | None


def announce(session: Session, happenings: Sequence[Happening]) -> None:
    """Store, for each event, one delivery with a ready pass for each webhook that wants to know."""
    told = _who_wants_to_know(session, happenings)
    for happening in happenings:
        webhooks = told.get(happening.event_id, ())
        payload = _payload(session, happening) if webhooks else {}
        for tenant, webhook_id in webhooks:
            delivery_id = new_id()
            delivery = {
                "id": delivery_id,
                "tenant": tenant,
                "webhook_id": webhook_id,
                "job_id": happening.job_id,
                "event_id": happening.event_id,
                "kind": happening.kind,
                "payload": payload,
            }
            session.execute(insert(WebhookDelivery).values(**delivery))
            open_pass(session, tenant, happening.job_id, webhook_id, delivery_id)


def announced(session: Session) -> int:
    """Return how many deliveries a session has opened: what to ring for after its commit."""
    return int(session.info.get(_ANNOUNCED, 0))


def open_pass(session: Session, tenant: str, job_id: str, webhook_id: str, delivery_id: str) -> None:
    """Make a delivery ready now. A webhook is a queue of its own, named by ``model``."""
    row = {
        "tenant": tenant,
        "kind": PassKind.DELIVER,
        "model": webhook_id,
        "job_id": job_id,
        "delivery_id": delivery_id,
    }
    insert_ready(session, [row])
    session.info[_ANNOUNCED] = announced(session) + 1


def _who_wants_to_know(
    session: Session, happenings: Sequence[Happening]
) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Return the webhooks, each behind its tenant, to tell of each event."""
    found: dict[str, list[Any]] = {}
    rows = session.execute(
        select(Job.id.label("job_id"), Job.tenant, Webhook.id, Webhook.events)
        .join(Webhook, Webhook.tenant == Job.tenant)
        .where(
            Job.id.in_({happening.job_id for happening in happenings}),
            Webhook.disabled_at.is_(None),
            or_(Webhook.of_all_jobs, Webhook.id == Job.webhook_id),
        )
    )
    for row in rows:
        found.setdefault(row.job_id, []).append(row)
    return {
        happening.event_id: [
            (row.tenant, row.id)
            for row in found.get(happening.job_id, ())
            if happening.kind in (row.events or JOB_ENDS)
        ]
        for happening in happenings
    }


def _payload(session: Session, happening: Happening) -> Mapping[str, Any]:
    """Return the message as Standard Webhooks advises: type, timestamp, data."""
    at = session.scalars(select(Event.at).where(Event.id == happening.event_id)).one()
    data = {"job": _job(session, happening.job_id)}
    if happening.job_recording_id is not None:
        data["recording"] = _recording(session, happening.job_recording_id)
    return {"type": happening.kind, "timestamp": at.isoformat(), "data": data}


def _job(session: Session, job_id: str) -> dict[str, Any]:
    # Columns and not the object: a session may hold one that was read before it was moved.
    job = session.execute(
        select(
            Job.id,
            Job.state,
            Job.tracking,
            Job.client_metadata,
            Job.created_at,
            Job.finished_at,
            Job.recordings_total,
            Job.recordings_done,
            Job.recordings_partial,
            Job.recordings_failed,
            Job.recordings_skipped,
            Job.recordings_cancelled,
        ).where(Job.id == job_id)
    ).one()
    return {
        "id": job.id,
        "state": job.state,
        "tracking": job.tracking,
        "metadata": job.client_metadata,
        "recordings": {
            "total": job.recordings_total,
            "succeeded": job.recordings_done - job.recordings_partial,
            "partial": job.recordings_partial,
            "failed": job.recordings_failed,
            "skipped": job.recordings_skipped,
            "cancelled": job.recordings_cancelled,
        },
        "created_at": job.created_at.isoformat(),
        "finished_at": None if job.finished_at is None else job.finished_at.isoformat(),
    }


def _recording(session: Session, link_id: str) -> dict[str, Any]:
    link = session.execute(
        select(
            JobRecording.position,
            JobRecording.uri,
            JobRecording.recording_id,
            JobRecording.state,
            JobRecording.version,
            JobRecording.tracking,
            JobRecording.client_metadata,
            JobRecording.error_code,
            JobRecording.error_message,
        ).where(JobRecording.id == link_id)
    ).one()
    error = None if link.error_code is None else {"code": link.error_code, "message": link.error_message}
    return {
        "position": link.position,
        "uri": link.uri,
        "id": link.recording_id,
        "state": link.state,
        "version": link.version,
        "tracking": link.tracking,
        "metadata": link.client_metadata,
        "error": error,
    }
