"""Delete jobs page by page, with everything that no other job links to; the events stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, exists, or_, select, update
from sqlalchemy.orm import Session

from db.cancelling import cancel_job, open_retire
from db.claims import Claim
from db.clock import database_now
from db.events import record_event
from db.queries import NotFound, is_kept
from db.statements import count_moved
from db.states import FINAL_JOB_STATES
from db.tables import (
    Annotation,
    Chunk,
    IdempotencyKey,
    Job,
    JobRecording,
    JobRequest,
    JobSource,
    Pass,
    Recording,
    RecordingRequest,
    Result,
    Segment,
    SourceError,
    Summary,
    WebhookAttempt,
    WebhookDelivery,
)

PAGE = 50  # recordings of a job that one transaction removes
UPLOAD = "upload://"


@dataclass(frozen=True)
class Removed:
    """What a page removed: how many links, and the objects that nothing refers to any more once it has committed."""

    links: int
    timelines: Sequence[str] = ()  # URIs of objects
    uploads: Sequence[str] = ()  # ``upload://`` URIs of the job's tenant


def delete_job(session: Session, tenant: str, job_id: str, *, actor: str) -> None:
    """Say that a job is to go: it is cancelled if it runs, and from now on nobody sees it; the rows go page by page.

    Raises ``NotFound``; a job that is going already is not found.
    """
    job = session.scalars(
        select(Job).where(Job.id == job_id, Job.tenant == tenant, is_kept()).with_for_update(key_share=True)
    ).first()
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    expire_job(session, job, actor=actor)


def expire_job(session: Session, job: Job, *, actor: str) -> bool:
    """End a job's time: cancel it if it still runs, and open the pass that removes it; False when there is one.

    The caller holds the job row exclusively.
    """
    if job.state not in FINAL_JOB_STATES:
        cancel_job(session, job.tenant, job.id, actor=actor)
    count_moved(
        session,
        update(Job)
        .where(Job.id == job.id, or_(Job.expires_at.is_(None), Job.expires_at > database_now()))
        .values(expires_at=database_now()),
    )
    opened = open_retire(session, job)
    record_event(session, "job.expired", tenant=job.tenant, job_id=job.id, actor=actor)
    return opened


def is_expired(session: Session, job: Job) -> bool:
    """Say whether a job's time has come, by the database's clock."""
    return bool(session.scalar(select(exists().where(Job.id == job.id, Job.expires_at <= database_now()))))


def remove_page(session: Session, job: Job, *, limit: int = PAGE) -> Removed:
    """Remove a page of a final job's recordings; the caller holds the job row exclusively and commits.

    What another job links to stays, and the passes that heard it go over to that job. Zero links: nothing is left but
    what ``remove_rest`` takes.
    """
    links = session.scalars(
        select(JobRecording)
        .where(JobRecording.job_id == job.id)
        .order_by(JobRecording.position)
        .limit(limit)
        .with_for_update()
    ).all()
    link_ids = [link.id for link in links]
    count_moved(session, delete(Pass).where(Pass.job_recording_id.in_(link_ids)))
    count_moved(session, delete(JobRecording).where(JobRecording.id.in_(link_ids)))
    timelines = []
    for recording_id in sorted({link.recording_id for link in links if link.recording_id is not None}):
        timelines += _let_go(session, job, recording_id)
    uris = {link.uri for link in links if link.uri.startswith(UPLOAD)}
    return Removed(len(links), timelines, unused_uploads(session, job.tenant, uris))


def remove_rest(session: Session, job: Job, claim: Claim) -> Removed:
    """Remove what is left of a job without links, the row and the ``retire`` pass itself too; an event says so.

    The caller holds the job row exclusively and has checked the claim (``cancelling.lock_retired``).
    """
    sources = select(JobSource.id).where(JobSource.job_id == job.id)
    uris = set(session.scalars(select(JobSource.uri).where(JobSource.job_id == job.id)))
    deliveries = select(WebhookDelivery.id).where(WebhookDelivery.job_id == job.id)
    # Results that other jobs share may name a pass of ours of a recording that is gone from our links already.
    kept = exists().where(Result.pass_id == Pass.id)
    for one in session.scalars(select(Pass).where(Pass.job_id == job.id, kept)).all():
        _go_over(session, job, one.recording_id)
    for statement in (
        delete(Pass).where(Pass.job_id == job.id),
        delete(WebhookAttempt).where(WebhookAttempt.delivery_id.in_(deliveries)),
        delete(WebhookDelivery).where(WebhookDelivery.job_id == job.id),
        delete(SourceError).where(SourceError.source_id.in_(sources)),
        delete(JobSource).where(JobSource.job_id == job.id),
        delete(JobRequest).where(JobRequest.job_id == job.id),
        delete(IdempotencyKey).where(IdempotencyKey.job_id == job.id),
        delete(Job).where(Job.id == job.id),
    ):
        count_moved(session, statement)
    record_event(session, "job.deleted", tenant=job.tenant, job_id=job.id, actor=claim.worker)
    uploads = {uri for uri in uris if uri.startswith(UPLOAD)}
    return Removed(0, (), unused_uploads(session, job.tenant, uploads))


def unused_uploads(session: Session, tenant: str, uris: set[str]) -> list[str]:
    """Return those of a tenant's uploads that no job names."""
    if not uris:
        return []
    named: set[str] = set()
    for table in (JobRecording, JobSource):
        named |= set(session.scalars(select(table.uri).where(table.tenant == tenant, table.uri.in_(uris))))
    return sorted(uris - named)


def _let_go(session: Session, job: Job, recording_id: str) -> list[str]:
    """Remove a recording that no link names any more; return its timeline, if it has one."""
    # Whoever links to it meanwhile waits for this lock, and then finds it gone: its plan registers it anew.
    recording = session.scalars(select(Recording).where(Recording.id == recording_id).with_for_update()).one()
    if session.scalar(select(exists().where(JobRecording.recording_id == recording_id))):
        _go_over(session, job, recording_id)
        return []
    owned = (Result, Segment, Annotation, Summary, RecordingRequest, Pass, Chunk)
    for table in owned:
        count_moved(session, delete(table).where(table.recording_id == recording_id))
    count_moved(session, delete(Recording).where(Recording.id == recording_id))
    return [] if recording.timeline_uri is None else [recording.timeline_uri]


def _go_over(session: Session, job: Job, recording_id: str | None) -> None:
    """Give the passes that heard a shared recording for this job to another one that links to it."""
    heir = session.scalar(
        select(JobRecording.job_id)
        .where(JobRecording.recording_id == recording_id, JobRecording.job_id != job.id)
        .order_by(JobRecording.id)
        .limit(1)
    )
    if heir is not None:
        count_moved(
            session,
            update(Pass)
            .where(Pass.job_id == job.id, Pass.recording_id == recording_id, Pass.job_recording_id.is_(None))
            .values(job_id=heir),
        )
