"""Answer what the API and the CLI ask; every query is bound to a tenant, and pages follow keys, not offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session

from db.clock import database_now
from db.states import LinkState
from db.tables import (
    Annotation,
    Job,
    JobRecording,
    JobRequest,
    JobSource,
    Recording,
    RecordingRequest,
    Request,
    Segment,
    SourceError,
    Summary,
)

PLANNED_STATES = tuple(state for state in LinkState if state != LinkState.QUEUED)

Found = TypeVar("Found", Segment, Annotation)


class NotFound(Exception):
    """There is no such row, or it belongs to another tenant."""

    code = "not_found"
    retryable = False


@dataclass(frozen=True)
class Progress:
    """How far a job is, in seconds of audio; ``total`` grows while recordings are still being planned."""

    audio_seconds_total: float
    audio_seconds_done: float
    recordings_planned: int

    @classmethod
    def none(cls) -> Progress:
        """Return the progress of a job that nobody has begun."""
        return cls(0.0, 0.0, 0)


def is_kept() -> ColumnElement[bool]:
    """Return the condition under which a job is there for its clients: its time has not come."""
    return or_(Job.expires_at.is_(None), Job.expires_at > database_now())


def get_job(session: Session, tenant: str, job_id: str) -> Job:
    """Return a job; raises ``NotFound``, also for one that is being deleted."""
    job = session.scalars(select(Job).where(Job.tenant == tenant, Job.id == job_id, is_kept())).first()
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def list_jobs(
    session: Session, tenant: str, *, state: str | None = None, after: str | None = None, limit: int = 50
) -> Sequence[Job]:
    """Return a page of jobs, newest first, that come behind the job ``after``."""
    query = select(Job).where(Job.tenant == tenant, is_kept()).order_by(Job.id.desc()).limit(limit)
    if state is not None:
        query = query.where(Job.state == state)
    if after is not None:
        query = query.where(Job.id < after)
    return session.scalars(query).all()


def list_requests(session: Session, tenant: str, job_id: str) -> Sequence[Request]:
    """Return the requests of a job in the order in which they were asked."""
    return session.scalars(
        select(Request)
        .join(JobRequest, JobRequest.request_id == Request.id)
        .where(JobRequest.job_id == job_id, Request.tenant == tenant)
        .order_by(JobRequest.position)
    ).all()


def list_sources(session: Session, tenant: str, job_id: str) -> Sequence[JobSource]:
    """Return the prefixes and manifests of a job in the order in which they were submitted."""
    return session.scalars(
        select(JobSource)
        .where(JobSource.tenant == tenant, JobSource.job_id == job_id)
        .order_by(JobSource.position)
    ).all()


def list_source_errors(
    session: Session, tenant: str, job_id: str, source_id: str, *, after: int | None = None, limit: int = 50
) -> Sequence[SourceError]:
    """Return a page of the lines that a manifest lost, behind the line ``after``; raises ``NotFound``."""
    mine = (JobSource.tenant == tenant, JobSource.job_id == job_id, JobSource.id == source_id)
    if session.scalars(select(JobSource.id).where(*mine)).first() is None:
        raise NotFound(f"there is no source {source_id} of job {job_id}")
    query = select(SourceError).where(SourceError.tenant == tenant, SourceError.source_id == source_id)
    if after is not None:
        query = query.where(SourceError.line > after)
    return session.scalars(query.order_by(SourceError.line).limit(limit)).all()


def list_job_recordings(
    session: Session,
    tenant: str,
    job_id: str,
    *,
    states: Sequence[str] = (),
    after: int | None = None,
    limit: int = 50,
) -> Sequence[tuple[JobRecording, Recording | None]]:
    """Return a page of a job's sources in their order, each with its recording once the object has been found."""
    query = (
        select(JobRecording, Recording)
        .outerjoin(Recording, Recording.id == JobRecording.recording_id)
        .where(JobRecording.tenant == tenant, JobRecording.job_id == job_id)
        .order_by(JobRecording.position)
        .limit(limit)
    )
    if states:
        query = query.where(JobRecording.state.in_(states))
    if after is not None:
        query = query.where(JobRecording.position > after)
    return [(link, recording) for link, recording in session.execute(query)]


def get_recording(session: Session, tenant: str, recording_id: str) -> Recording:
    """Return a recording; raises ``NotFound``."""
    found = session.scalars(
        select(Recording).where(Recording.tenant == tenant, Recording.id == recording_id)
    ).first()
    if found is None:
        raise NotFound(f"there is no recording {recording_id}")
    return found


def list_segments(
    session: Session,
    tenant: str,
    recording_id: str,
    *,
    request_id: str | None = None,
    after: str | None = None,
    limit: int = 200,
) -> Sequence[Segment]:
    """Return a page of segments by request and in timeline order, behind the segment ``after``."""
    query = _page_of(session, Segment, tenant, recording_id, after)
    if request_id is not None:
        query = query.where(Segment.request_id == request_id)
    return session.scalars(query.limit(limit)).all()


def list_annotations(
    session: Session,
    tenant: str,
    recording_id: str,
    *,
    task: str | None = None,
    request_id: str | None = None,
    after: str | None = None,
    limit: int = 200,
) -> Sequence[Annotation]:
    """Return a page of annotations by request and in timeline order, behind the annotation ``after``."""
    query = _page_of(session, Annotation, tenant, recording_id, after)
    if task is not None:
        query = query.where(Annotation.task == task)
    if request_id is not None:
        query = query.where(Annotation.request_id == request_id)
    return session.scalars(query.limit(limit)).all()


def list_summaries(session: Session, tenant: str, recording_id: str) -> Sequence[tuple[Summary, Request]]:
    """Return what each request found, said of the whole recording, with the request; by task."""
    rows = session.execute(
        select(Summary, Request)
        .join(Request, Request.id == Summary.request_id)
        .where(Summary.tenant == tenant, Summary.recording_id == recording_id)
        .order_by(Summary.task, Summary.request_id)
    )
    return [(summary, request) for summary, request in rows]


def _page_of(
    session: Session, table: type[Found], tenant: str, recording_id: str, after: str | None
) -> Select[Found]:
    query = select(table).where(table.tenant == tenant, table.recording_id == recording_id)
    if after is not None:
        last = session.scalars(query.where(table.id == after)).first()
        if last is None:
            raise NotFound(f"there is no row {after} of recording {recording_id} to continue behind")
        query = query.where(
            or_(
                table.request_id > last.request_id,
                and_(table.request_id == last.request_id, table.index > last.index),
            )
        )
    return query.order_by(table.request_id, table.index)


def job_progress(session: Session, job: Job) -> Progress:
    """Weigh each recording's chunk requests by its length; finished recordings count in full.

    The database adds up: a job may have a million recordings, and is asked about again and again.
    """
    finished = JobRecording.state.in_((LinkState.SUCCEEDED, LinkState.PARTIAL, LinkState.SKIPPED))
    total = func.coalesce(func.sum(RecordingRequest.chunks_total), 0)
    closed = func.sum(RecordingRequest.chunks_done + RecordingRequest.chunks_failed)
    share = case((or_(finished, total == 0), 1.0), else_=closed * 1.0 / total)
    each = (
        select(Recording.duration_ms.label("duration_ms"), share.label("share"))
        .select_from(JobRecording)
        .join(Recording, Recording.id == JobRecording.recording_id)
        .join(JobRequest, JobRequest.job_id == JobRecording.job_id)
        .join(
            RecordingRequest,
            (RecordingRequest.recording_id == Recording.id)
            & (RecordingRequest.request_id == JobRequest.request_id),
        )
        # Said by state, which an index knows: of a large archive most recordings wait for their plans.
        .where(
            JobRecording.job_id == job.id,
            JobRecording.state.in_(PLANNED_STATES),
            Recording.duration_ms.is_not(None),
        )
        .group_by(JobRecording.id, JobRecording.state, Recording.duration_ms)
        .subquery()
    )
    planned, all_ms, done_ms = session.execute(
        select(func.count(), func.sum(each.c.duration_ms), func.sum(each.c.duration_ms * each.c.share))
    ).one()
    return Progress(round(float(all_ms or 0) / 1000, 3), round(float(done_ms or 0) / 1000, 3), planned)
