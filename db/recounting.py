"""Count again what is counted as it happens, and set right what differs: the rows are the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select
from sqlalchemy.orm import Session

from db.clock import database_now
from db.events import record_event
from db.finishing import start_finishes
from db.pairs import load_pairs
from db.repairing import ACTOR, PAGE, lock_job
from db.settling import COUNTED_STATES, finish_if_over
from db.states import FINAL_JOB_STATES, RequestState, SourceState
from db.tables import Job, JobRecording, JobSource, Recording, RecordingRequest, Result

_COLUMNS = ("recordings_total", *COUNTED_STATES, "sources_open")


def find_miscounted(session: Session, limit: int = PAGE) -> Sequence[str]:
    """Return jobs of the last day, and living ones, whose counters are not what their rows say."""
    recent = or_(Job.state.not_in(FINAL_JOB_STATES), Job.finished_at > database_now(-86_400))
    counted = _counts(recent).subquery()
    differs = or_(
        *(getattr(Job, column) != func.coalesce(counted.c[column], 0) for column in _COLUMNS),
    )
    return session.scalars(
        select(Job.id).outerjoin(counted, counted.c.job_id == Job.id).where(recent, differs).limit(limit)
    ).all()


def recount(session: Session, job_id: str) -> dict[str, tuple[int, int]]:
    """Count a job's recordings and sources again; return what was wrong: (stored, counted) by column.

    Ends the job when that shows it to be over.
    """
    job = lock_job(session, job_id)
    if job is None:
        return {}
    row = session.execute(_counts(Job.id == job_id)).first()
    wrong = {}
    for column in _COLUMNS:
        found = 0 if row is None else int(getattr(row, column) or 0)
        if getattr(job, column) != found:
            wrong[column] = (getattr(job, column), found)
            setattr(job, column, found)
    if wrong:
        session.flush()
        data = {column: {"stored": stored, "counted": found} for column, (stored, found) in wrong.items()}
        record_event(session, "job.repaired", tenant=job.tenant, job_id=job_id, actor=ACTOR, data=data)
    if job.state not in FINAL_JOB_STATES:
        finish_if_over(session, job, actor=ACTOR)
    return wrong


def _counts(which: ColumnElement[bool]) -> Select[Any]:
    sources_open = (
        select(func.count())
        .where(JobSource.job_id == Job.id, JobSource.state == SourceState.EXPANDING)
        .correlate(Job)
        .scalar_subquery()
    )
    return (
        select(
            Job.id.label("job_id"),
            func.count(JobRecording.id).label("recordings_total"),
            *(
                func.coalesce(func.sum(case((JobRecording.state.in_(states), 1), else_=0)), 0).label(column)
                for column, states in COUNTED_STATES.items()
            ),
            sources_open.label("sources_open"),
        )
        .outerjoin(JobRecording, JobRecording.job_id == Job.id)
        .where(which)
        .group_by(Job.id)
    )


def find_miscounted_requests(session: Session, limit: int = PAGE) -> Sequence[tuple[str, str]]:
    """Return the (recording, request) whose count of heard chunks is not that of their results, unless stitched."""
    answered = (
        select(func.count())
        .where(
            Result.recording_id == RecordingRequest.recording_id,
            Result.request_id == RecordingRequest.request_id,
        )
        .correlate(RecordingRequest)
        .scalar_subquery()
    )
    rows = session.execute(
        select(RecordingRequest.recording_id, RecordingRequest.request_id)
        .where(RecordingRequest.state != RequestState.STITCHED, RecordingRequest.chunks_done != answered)
        .limit(limit)
    )
    return [(row.recording_id, row.request_id) for row in rows]


def recount_request(session: Session, recording_id: str, request_id: str) -> tuple[int, int] | None:
    """Count a request's heard chunks again; return (stored, counted), None when they are the same by now."""
    counts = session.scalars(
        select(RecordingRequest)
        .where(RecordingRequest.recording_id == recording_id, RecordingRequest.request_id == request_id)
        .with_for_update()
    ).first()
    if counts is None:
        return None
    session.execute(select(Recording.id).where(Recording.id == recording_id).with_for_update(key_share=True))
    pairs = load_pairs(session, recording_id, [request_id])
    stored, found = counts.chunks_done, len(pairs.answered)
    if stored == found:
        return None
    counts.chunks_done, counts.chunks_failed = found, len(pairs.failed)
    is_heard = found + len(pairs.failed) >= counts.chunks_total
    counts.state = RequestState.HEARD if is_heard else RequestState.OPEN
    session.flush()
    start_finishes(session, recording_id, actor=ACTOR)
    return stored, found
