"""Ask again, as a new job: retry what failed of a job, or ask more about its recordings; what is there is reused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from db.clock import database_now
from db.events import record_event
from db.fairness import insert_ready
from db.queries import NotFound, is_kept
from db.statements import insert_rows
from db.states import FINAL_JOB_STATES, IfSeen, JobState, LinkState, PassKind, SourceState
from db.submitting import NewRequest, add_job_requests, request_ids_of
from db.tables import Job, JobRecording, JobRequest, JobSource
from db.types import new_id

COPIED = 2_000  # links that are read at a time
# In a job that was cancelled: what is open there will be cancelled, as soon as its page is retired.
_CUT_OFF = (LinkState.CANCELLED, LinkState.QUEUED, LinkState.UNDERSTANDING, LinkState.FINISHING)


class JobNotOver(Exception):
    """The job still runs: what fails of it is not known yet."""

    code = "job_not_over"
    retryable = True


class NothingToRetry(Exception):
    """Nothing of the job failed in a way that another try could change."""

    code = "nothing_to_retry"
    retryable = False


class NothingToAsk(Exception):
    """The job has no recording that can be asked more."""

    code = "nothing_to_ask"
    retryable = False


def retry_job(
    session: Session,
    tenant: str,
    job_id: str,
    *,
    cancelled: bool = False,
    ttl_hours: float | None = None,
    actor: str,
) -> Job:
    """Make a job of the recordings that failed in another, or are partial for failed chunks; return its row.

    A source whose listing failed goes on behind the last page that was taken. Their results are reused: only what has
    none runs again, chunks in quarantine too. With ``cancelled`` also what a cancel cut off, recordings and listings,
    whether they are counted as cancelled by now or not. It lives as long as the other from its acceptance, or
    ``ttl_hours`` where that one stays. One retry of a job runs at a time.
    Raises ``NotFound``, ``JobNotOver`` and ``NothingToRetry``.
    """
    old = _lock(session, tenant, job_id)
    if old.state not in FINAL_JOB_STATES:
        raise JobNotOver(f"job {job_id} is {old.state}: wait until it has ended, or cancel it")
    running = session.scalar(
        select(Job.id).where(Job.tenant == tenant, Job.retry_of == job_id, Job.state.not_in(FINAL_JOB_STATES))
    )
    if running is not None:
        raise JobNotOver(f"job {running} is retrying job {job_id} already: wait until it has ended")
    failed = (
        JobRecording.state == LinkState.FAILED,
        (JobRecording.state == LinkState.PARTIAL) & (JobRecording.error_code == "chunks_failed"),
        *([JobRecording.state.in_(_CUT_OFF)] if cancelled else []),
    )
    new = _make_job(session, old, ttl_hours, retry_of=job_id)
    requests = session.scalars(
        select(JobRequest.request_id).where(JobRequest.job_id == job_id).order_by(JobRequest.position)
    ).all()
    add_job_requests(session, [(new, requests)])
    copied = _copy_links(session, old, new, or_(*failed))
    states = (SourceState.FAILED, SourceState.CANCELLED) if cancelled else (SourceState.FAILED,)
    if not _copy_sources(session, old, new, states) and not copied:
        raise NothingToRetry(_why_nothing(old, asked_for_all=cancelled))
    _record(session, new, actor, {"retry_of": job_id})
    return new


def _why_nothing(job: Job, *, asked_for_all: bool) -> str:
    """Say that nothing failed, and how to ask for what a cancel cut off."""
    why = f"nothing of job {job.id} failed in a way that another try could change"
    if job.state != JobState.CANCELLED or asked_for_all:
        return why
    how = f'`earwitness retry {job.id} --cancelled`, or over REST with {{"cancelled": true}}'
    return f"{why}; what its cancel cut off is taken by {how}"


def ask_more(
    session: Session,
    tenant: str,
    job_id: str,
    requests: Sequence[NewRequest],
    *,
    ttl_hours: float | None = None,
    actor: str,
) -> Job:
    """Make a job that asks more of the recordings of another one; return its row.

    What was answered before is reused, and no object is fetched for it. The other job may still run. It lives as long
    as a retry of that would. Raises ``NotFound``, ``JobNotOver`` while its sources are still expanding, and
    ``NothingToAsk``.
    """
    old = _lock(session, tenant, job_id)
    expanding = select(JobSource.id).where(
        JobSource.job_id == job_id, JobSource.state == SourceState.EXPANDING
    )
    if session.scalar(expanding.limit(1)) is not None:
        raise JobNotOver(f"the sources of job {job_id} are still being listed: ask when that has ended")
    new = _make_job(session, old, ttl_hours, retry_of=None)
    add_job_requests(session, [(new, request_ids_of(session, tenant, requests))])
    lost = _CUT_OFF if old.state == JobState.CANCELLED else (LinkState.CANCELLED,)
    usable = JobRecording.state.not_in((LinkState.FAILED, *lost))
    if not _copy_links(session, old, new, usable):
        raise NothingToAsk(
            f"job {job_id} has no recording that can be asked more: all failed or were cancelled"
        )
    _record(session, new, actor, {"more_of": job_id, "tasks": [request.task for request in requests]})
    return new


def _lock(session: Session, tenant: str, job_id: str) -> Job:
    job = session.scalars(
        select(Job).where(Job.id == job_id, Job.tenant == tenant, is_kept()).with_for_update(key_share=True)
    ).first()
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def _make_job(session: Session, old: Job, ttl_hours: float | None, *, retry_of: str | None) -> Job:
    new = Job(
        id=new_id(),
        tenant=old.tenant,
        channels=old.channels,
        priority=old.priority,
        client_metadata=dict(old.client_metadata),
        recordings_total=0,
        # Where a retry has to look at an object anew, it does so as its job would have. What that left half done is not
        # skipped, since no archive has all of it. Asking more is always about the same recordings.
        if_seen=IfSeen.REUSE if retry_of is None else old.if_seen,
        identity=old.identity,
        tracking=old.tracking,
        webhook_id=old.webhook_id,
        retry_of=retry_of,
        expires_at=_expiry(old, ttl_hours),
    )
    session.add(new)
    session.flush()
    return new


def _expiry(old: Job, ttl_hours: float | None) -> ColumnElement[datetime] | None:
    if old.expires_at is not None:
        return database_now((old.expires_at - old.created_at).total_seconds())
    return None if ttl_hours is None else database_now(ttl_hours * 3600)


def _copy_links(session: Session, old: Job, new: Job, wanted: ColumnElement[bool]) -> int:
    """Copy links of the old job, with the recordings that they have found, each with a plan pass; count them."""
    total, position = 0, -1
    while True:
        links = session.scalars(
            select(JobRecording)
            .where(JobRecording.job_id == old.id, wanted, JobRecording.position > position)
            .order_by(JobRecording.position)
            .limit(COPIED)
        ).all()
        if not links:
            break
        position = links[-1].position
        rows = [
            {
                "id": new_id(),
                "tenant": new.tenant,
                "job_id": new.id,
                "position": total + number,
                "uri": link.uri,
                "recording_id": link.recording_id,
                "client_metadata": dict(link.client_metadata),
                "tracking": link.tracking,
                "version": link.version,
                "size_bytes": link.size_bytes,
            }
            for number, link in enumerate(links)
        ]
        insert_rows(session, JobRecording, rows)
        insert_ready(
            session,
            [
                {
                    "tenant": new.tenant,
                    "kind": PassKind.PLAN,
                    "job_id": new.id,
                    "job_recording_id": row["id"],
                    "priority": new.priority,
                }
                for row in rows
            ],
        )
        total += len(rows)
    new.recordings_total = total
    session.flush()
    return total


def _copy_sources(session: Session, old: Job, new: Job, states: Sequence[SourceState]) -> int:
    """Copy the sources whose listing ended in one of these states, each with an expand pass; count them.

    One that gave something goes on where it was; one that gave nothing begins again.
    """
    sources = session.scalars(
        select(JobSource)
        .where(JobSource.job_id == old.id, JobSource.state.in_(states))
        .order_by(JobSource.position)
    ).all()
    for position, source in enumerate(sources):
        copy = JobSource(
            id=new_id(),
            tenant=new.tenant,
            job_id=new.id,
            position=position,
            kind=source.kind,
            uri=source.uri,
            glob=source.glob,
            cursor=source.cursor if source.objects_taken else None,
            objects_seen=source.objects_seen if source.objects_taken else 0,
            objects_taken=source.objects_taken,
        )
        session.add(copy)
        session.flush()
        row = {"tenant": new.tenant, "kind": PassKind.EXPAND, "job_id": new.id, "source_id": copy.id}
        insert_ready(session, [{"priority": new.priority, **row}])
    new.sources_open = len(sources)
    session.flush()
    return len(sources)


def _record(session: Session, job: Job, actor: str, data: Mapping[str, Any]) -> None:
    facts = {"recordings": job.recordings_total, **data}
    record_event(session, "job.accepted", tenant=job.tenant, job_id=job.id, actor=actor, data=facts)
