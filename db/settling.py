"""Bring one recording or source of a job to its final state, and the job with its last one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from db.clock import database_now
from db.events import record_event
from db.statements import count_moved
from db.states import FINAL_JOB_STATES, FINAL_LINK_STATES, JobState, LinkState, SourceState
from db.tables import Job, JobRecording, JobSource

COUNTED_STATES: Mapping[str, tuple[LinkState, ...]] = {
    "recordings_done": (LinkState.SUCCEEDED, LinkState.PARTIAL),
    "recordings_partial": (LinkState.PARTIAL,),
    "recordings_failed": (LinkState.FAILED,),
    "recordings_skipped": (LinkState.SKIPPED,),
    "recordings_cancelled": (LinkState.CANCELLED,),
}
"""Which final states of its recordings each counter of a job counts."""


@dataclass(frozen=True)
class Outcome:
    """How one recording of a job ended; PARTIAL and FAILED say why."""

    state: LinkState
    error_code: str | None = None
    error_message: str | None = None


def settle_recording(session: Session, job_id: str, link_id: str, outcome: Outcome, *, actor: str) -> bool:
    """Close one recording of a job and count it once; returns False when it was closed already.

    The caller holds the job row exclusively (``claims.lock_job_of``).
    """
    moved = count_moved(
        session,
        update(JobRecording)
        .where(JobRecording.id == link_id, JobRecording.state.not_in(FINAL_LINK_STATES))
        .values(
            state=outcome.state,
            error_code=outcome.error_code,
            error_message=outcome.error_message,
            finished_at=database_now(),
        ),
    )
    if not moved:
        return False
    job = session.scalars(
        update(Job)
        .where(Job.id == job_id)
        .values(
            {
                column: getattr(Job, column) + int(outcome.state in states)
                for column, states in COUNTED_STATES.items()
            }
        )
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).one()
    record_event(
        session,
        f"recording.{outcome.state}",
        tenant=job.tenant,
        job_id=job_id,
        job_recording_id=link_id,
        actor=actor,
        data={"code": outcome.error_code} if outcome.error_code else None,
    )
    finish_if_over(session, job, actor=actor)
    return True


def close_source(
    session: Session, job_id: str, source_id: str, error: tuple[str, str] | None = None, *, actor: str
) -> bool:
    """Close a prefix or manifest, failed when there is an ``error`` (code, message), and count it once.

    Returns False when it was closed already. The caller holds the job row exclusively.
    """
    state = SourceState.EXPANDED if error is None else SourceState.FAILED
    code, message = error or (None, None)
    source = session.scalars(
        update(JobSource)
        .where(JobSource.id == source_id, JobSource.state == SourceState.EXPANDING)
        .values(state=state, error_code=code, error_message=message, finished_at=database_now())
        .returning(JobSource)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).first()
    if source is None:
        return False
    job = session.scalars(
        update(Job)
        .where(Job.id == job_id)
        .values(sources_open=Job.sources_open - 1)
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).one()
    data = {"uri": source.uri, "taken": source.objects_taken, "skipped": source.objects_skipped}
    data |= {"lines_bad": source.lines_bad} if source.lines_bad else {}
    data |= {"code": code} if code else {}
    record_event(session, f"source.{state}", tenant=job.tenant, job_id=job_id, actor=actor, data=data)
    finish_if_over(session, job, actor=actor)
    return True


def finish_if_over(session: Session, job: Job, *, actor: str) -> bool:
    """Close a job whose sources are all expanded and whose recordings are all closed; say whether it was closed now.

    The caller holds the job row exclusively, and ``job`` is as the row is now.
    """
    counted = sum(getattr(job, column) for column in COUNTED_STATES if column != "recordings_partial")
    if job.sources_open or counted != job.recordings_total:
        return False
    wanting = session.scalar(
        select(JobSource.id)
        .where(
            JobSource.job_id == job.id, or_(JobSource.state == SourceState.FAILED, JobSource.lines_bad > 0)
        )
        .limit(1)
    )
    state = final_state(
        job.recordings_total,
        job.recordings_partial,
        job.recordings_failed,
        sources_wanting=wanting is not None,
    )
    moved = count_moved(
        session,
        update(Job)
        .where(Job.id == job.id, Job.state.not_in(FINAL_JOB_STATES))
        .values(state=state, finished_at=database_now()),
    )
    if moved:
        record_event(session, f"job.{state}", tenant=job.tenant, job_id=job.id, actor=actor)
    return bool(moved)


def final_state(total: int, partial: int, failed: int, *, sources_wanting: bool = False) -> JobState:
    """Return how a job ended whose recordings are all closed; ``sources_wanting``: not all of a source was taken.

    A job that was left without any recording has nothing that failed, unless its sources did.
    """
    if failed == total and (failed or sources_wanting):
        return JobState.FAILED
    return JobState.PARTIAL if failed or partial or sources_wanting else JobState.SUCCEEDED
